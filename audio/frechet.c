#include "audio/frechet.h"

#include "base/error.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SWEEPS_MAX = 60 };

bool moments_open(struct moments *m, int n_dims)
{
    size_t n = (size_t)n_dims;
    *m = (struct moments){.n_dims = n_dims};
    m->sum = calloc(n + n * n, sizeof(*m->sum));
    m->outer = m->sum ? m->sum + n : NULL;
    return m->sum || error_set("out of memory for statistics of %d numbers", n_dims);
}

void moments_close(struct moments *m)
{
    free(m->sum);
    memset(m, 0, sizeof(*m));
}

void moments_add(struct moments *m, const float *x)
{
    int n = m->n_dims;
    m->n++;
    for (int i = 0; i < n; i++) {
        m->sum[i] += (double)x[i];
        for (int j = 0; j <= i; j++)
            m->outer[i * n + j] += (double)x[i] * (double)x[j];
    }
}

void moments_merge(struct moments *m, const struct moments *other)
{
    assert(m->n_dims == other->n_dims);
    m->n += other->n;
    for (int i = 0; i < m->n_dims + m->n_dims * m->n_dims; i++)
        m->sum[i] += other->sum[i];
}

double moments_mean(const struct moments *m, int i)
{
    return m->sum[i] / (double)m->n;
}

double moments_covariance(const struct moments *m, int i, int j)
{
    if (m->n < 2)
        return 0;
    double product = i >= j ? m->outer[i * m->n_dims + j] : m->outer[j * m->n_dims + i];
    return (product - m->sum[i] * m->sum[j] / (double)m->n) / (double)(m->n - 1);
}

/* Turns rows and columns p and q of `a` by the angle that makes a[p][q] zero. */
static void rotate(double *a, double *vectors, int n, int p, int q)
{
    double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;
    for (int i = 0; i < n; i++) {
        double x = a[i * n + p], y = a[i * n + q];
        a[i * n + p] = c * x - s * y;
        a[i * n + q] = s * x + c * y;
    }
    for (int i = 0; i < n; i++) {
        double x = a[p * n + i], y = a[q * n + i];
        a[p * n + i] = c * x - s * y;
        a[q * n + i] = s * x + c * y;
    }
    for (int i = 0; vectors && i < n; i++) {
        double x = vectors[i * n + p], y = vectors[i * n + q];
        vectors[i * n + p] = c * x - s * y;
        vectors[i * n + q] = s * x + c * y;
    }
}

void symmetric_eigen(double *values, double *vectors, double *a, int n)
{
    double total = 0, off = INFINITY;
    for (int i = 0; i < n * n; i++)
        total += a[i] * a[i];
    for (int i = 0; vectors && i < n * n; i++)
        vectors[i] = i % (n + 1) == 0;
    for (int sweep = 0; sweep < SWEEPS_MAX && off > 1e-28 * total; sweep++) {
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++)
                if (fabs(a[p * n + q]) > 1e-300)
                    rotate(a, vectors, n, p, q);
        off = 0;
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++)
                off += 2 * a[p * n + q] * a[p * n + q];
    }
    for (int i = 0; i < n; i++)
        values[i] = a[i * n + i];
}

/* out = x y; out = x y'. All (n, n). */
static void multiply(double *out, const double *x, const double *y, bool transposed, int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++)
                sum += x[i * n + k] * (transposed ? y[j * n + k] : y[k * n + j]);
            out[i * n + j] = sum;
        }
}

static void covariance_fill(double *out, const struct moments *m)
{
    for (int i = 0; i < m->n_dims; i++)
        for (int j = 0; j < m->n_dims; j++)
            out[i * m->n_dims + j] = moments_covariance(m, i, j);
}

bool frechet_distance(double *distance, const struct moments *a, const struct moments *b)
{
    assert(a->n > 0 && b->n > 0 && a->n_dims == b->n_dims);
    int n = a->n_dims;
    size_t square = (size_t)n * (size_t)n;
    double *block = malloc((4 * square + (size_t)n) * sizeof(*block));
    if (!block)
        return error_set("out of memory for the distance of two sets of %d numbers", n);
    double *root = block, *other = root + square, *vectors = other + square,
           *work = vectors + square, *values = work + square, sum = 0;
    for (int i = 0; i < n; i++) {
        double apart = moments_mean(a, i) - moments_mean(b, i);
        sum += apart * apart + moments_covariance(a, i, i) + moments_covariance(b, i, i);
    }
    /* A^1/2 = V diag(sqrt) V'. Rounding leaves some eigenvalues just below 0. */
    covariance_fill(other, a);
    symmetric_eigen(values, vectors, other, n);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            work[i * n + j] = vectors[i * n + j] * sqrt(fmax(values[j], 0));
    multiply(root, work, vectors, true, n);
    covariance_fill(other, b);
    multiply(work, root, other, false, n);
    multiply(other, work, root, false, n);
    symmetric_eigen(values, NULL, other, n);
    double largest = 0;
    for (int i = 0; i < n; i++)
        largest = fmax(largest, values[i]);
    for (int i = 0; i < n; i++) /* what rounding leaves of a 0 has a root that counts */
        sum -= 2 * (values[i] > 1e-14 * largest ? sqrt(values[i]) : 0);
    free(block);
    *distance = fmax(sum, 0);
    return true;
}
