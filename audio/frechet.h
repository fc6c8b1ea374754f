/*
 * Statistics of vectors, and the Fréchet distance between two sets of them taken as Gaussians.
 *
 * Any thread; a `moments` belongs to one at a time.
 */
#ifndef HISS_AUDIO_FRECHET_H
#define HISS_AUDIO_FRECHET_H

#include <stdbool.h>
#include <stdint.h>

/* Sums over vectors of n_dims numbers. */
struct moments {
    int n_dims;
    int64_t n;
    double *sum;   /* (n_dims) */
    double *outer; /* (n_dims, n_dims), symmetric; the lower triangle alone is kept up to date */
};

/* False with error_text (memory). */
bool moments_open(struct moments *m, int n_dims);
void moments_close(struct moments *m); /* a zeroed one is fine */

void moments_add(struct moments *m, const float *x /* (n_dims) */);
/* As if all that was added to `other` had been added. */
void moments_merge(struct moments *m, const struct moments *other);

double moments_mean(const struct moments *m, int i);
/* Divided by n - 1; 0 for fewer than two vectors. */
double moments_covariance(const struct moments *m, int i, int j);

/* |mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) with the covariances A and B: the squared
   Fréchet (2-Wasserstein) distance of two Gaussians (Dowson and Landau: "The Fréchet distance
   between multivariate normal distributions", J. Multivariate Anal. 12, 1982), at least 0. Its
   estimate from few vectors is too high. Both non-empty and of the same n_dims. False with
   error_text (memory). */
bool frechet_distance(double *distance, const struct moments *a, const struct moments *b);

/* Eigenvalues of a symmetric matrix a (n, n), which is destroyed, and with `vectors` (n, n) not
   NULL its orthonormal eigenvectors in columns: a = V diag(values) V'. Cyclic Jacobi rotations
   (Golub and Van Loan, "Matrix computations", section 8.5). */
void symmetric_eigen(double *values /* (n) */, double *vectors, double *a, int n);

#endif
