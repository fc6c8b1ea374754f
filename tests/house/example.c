/* A program of another project: a second of sound from a model, as 16 bit mono on standard output.
   usage: example MODEL LABEL */
#include <hiss.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct hiss_model *model = hiss_model_open(argv[1], "auto", 1);
    struct hiss_stream *stream = model ? hiss_stream_open(model, 1, 0, true) : NULL;
    int label = stream ? hiss_model_find_label(model, argv[2]) : -1;
    if (label < 0 || !hiss_stream_set_label(stream, 0, label)) {
        fprintf(stderr, "%s\n", hiss_error());
        return 1;
    }
    uint8_t codes[80];
    for (int done = 0; done < hiss_model_rate(model); done += 80) {
        if (!hiss_stream_generate(stream, codes, 80, NULL)) {
            fprintf(stderr, "%s\n", hiss_error());
            return 1;
        }
        for (int i = 0; i < 80; i++) {
            int16_t sample = (int16_t)(32767 * hiss_model_decode(model, codes[i]));
            fwrite(&sample, sizeof sample, 1, stdout);
        }
    }
    hiss_stream_close(stream);
    hiss_model_close(model);
    return 0;
}
