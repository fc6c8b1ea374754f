/*
 * A data set: any folder of recordings (or one file), as codes.
 *
 * Found: every file below the folder, hidden ones left out, in bytewise order of the names, so that
 * nothing depends on the file system. Links are followed; a folder reached twice is read once.
 * Every file is decoded once at the opening (by several threads), because only that tells its true
 * length, its peak and its faults. What is needed later is kept at the model's rate in memory, or,
 * beyond the budget, in one temporary file that has no name and vanishes with the process. Clips
 * are bit for bit the same either way. A file that cannot be used is listed with its reason and
 * never stops the rest.
 *
 * Splits: the top-level folders train/, valid/ and test/. Without train/, all that is not in valid/
 * or test/ is train. Without valid/, it is taken from train: of 20 usable files or more, those
 * whose content hashes lowest (64-bit FNV-1a of the file's bytes, mixed by the end of splitmix64),
 * 5 % of the files, equal files staying together; of fewer, the last 5 % of each file's time. A
 * split that is not asked for is not opened, except train/ to find its valid part. One file as data
 * is split by time. SPLIT_ALL is for eval: every file found, whole, wherever it lies.
 *
 * Labels: the immediate parent folder of a file; one directly in the data folder or in a split
 * folder has none (-1).
 *
 * dataset_open and dataset_close are the main thread's; everything else only reads, from any
 * thread.
 */
#ifndef HISS_AUDIO_DATASET_H
#define HISS_AUDIO_DATASET_H

#include "audio/normalize.h"
#include "base/clip_mode.h"
#include "base/quantizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dataset;

enum split { SPLIT_TRAIN, SPLIT_VALID, SPLIT_TEST, SPLIT_ALL, SPLITS };
enum { NO_LABEL = -1 };

/* "train", "valid", "test", "all". */
const char *split_name(enum split split);

enum label_mode { LABELS_NONE, LABELS_FOLDERS };
const char *label_mode_name(enum label_mode mode);
bool label_mode_from_name(enum label_mode *mode, const char *name);

struct dataset_options {
    int rate; /* Hz: the model's */
    enum quantizer quantizer;
    enum normalize normalize;
    enum clip_mode clip_mode;
    int64_t clip_samples;
    bool pad_loss; /* padding is a target of training clips */

    unsigned splits; /* 1u << SPLIT_TRAIN | 1u << SPLIT_VALID, ...; 1u << SPLIT_ALL stands alone */
    enum label_mode labels;
    const char *const
        *label_names; /* (n_label_names) a model's, to map folders to; NULL: find them */
    int n_label_names;

    /* training clips only */
    uint64_t seed;
    float label_dropout; /* the part of clips that lose their label */
    float speed;         /* 0.1: up to 10 % faster or slower, pitch and all; 0: off; at most 0.45 */
    float gain_db;       /* 12: made quieter by up to 12 dB; 0: off */
    int64_t carry;       /* windows of a recording that are heard one after the other, see clip.h;
                            1: none. More of them only with crop, without speed and minmax */

    int64_t cache_bytes;      /* memory for the decoded set; beyond it, the temporary file */
    const char *cache_folder; /* where that file goes; NULL: $TMPDIR, else /var/tmp */
    int n_threads;            /* for decoding at the opening */

    /* Called as files are decoded, by one thread at a time but not always the same; returning false
       gives up (error_text "interrupted"). NULL: silence. */
    bool (*progress)(void *arg, int64_t n_done, int64_t n_files);
    void *progress_arg;
};

/* Defaults: 16000 Hz, mu-law-256, peak, crop of 16000 samples, padding a target, train and valid,
   no labels, dropout 0.1, no augmentation, no carrying, seed 0, 1 GiB, all processors. */
void dataset_options_init(struct dataset_options *o);

/* What became of a file. */
enum fate { FATE_KEPT, FATE_PADDED, FATE_CUT, FATE_SKIPPED };
const char *fate_name(enum fate fate); /* "kept", "padded", "cut", "skipped" */

/* One line of the index. A file split by time has two, train's and valid's. */
struct dataset_file {
    const char *path; /* as it can be opened */
    const char *name; /* the same without the data folder */
    enum split split;
    int32_t label; /* into dataset_label, or NO_LABEL */
    enum fate fate;
    const char *why;    /* "" or what there is to know: why skipped, how many NaN, too quiet, ... */
    int rate, channels; /* the file's own; 0 if it could not be opened */
    int64_t start;      /* first sample of this part, at the data set's rate */
    int64_t n_samples;  /* of this part */
    double dur_s;       /* of this part */
    float peak;         /* largest |x| of the whole file */
};

struct dataset_counts {
    int64_t n_used, n_padded, n_cut, n_skipped; /* n_used includes padded and cut */
    int64_t n_samples;                          /* of the used ones, at the data set's rate */
    double dur_s;
    int64_t n_told; /* used ones with something in `why` */
};

/* Opens a folder or a file. NULL with error_text; nothing usable in a split asked for is such an
   error, and says what is needed. */
struct dataset *dataset_open(const char *path, const struct dataset_options *o);
void dataset_close(struct dataset *d); /* NULL is fine */

const struct dataset_options *dataset_options(const struct dataset *d);

/* The index: every file found in the splits asked for, skipped ones too, in order. */
int64_t dataset_n_files(const struct dataset *d);
const struct dataset_file *dataset_file(const struct dataset *d, int64_t i);
struct dataset_counts dataset_counts(const struct dataset *d, enum split split);

/* Is the set read from memory (true), or from the temporary file? And its size there. */
bool dataset_in_memory(const struct dataset *d);
int64_t dataset_bytes(const struct dataset *d);

/* The labels: those given, else the folder names of the train split (of what was asked for, where
   that is not train), sorted bytewise. */
int dataset_n_labels(const struct dataset *d);
const char *dataset_label(const struct dataset *d, int i);

/* Items: the usable files of a split, in order, whole, without dropout or augmentation. For eval.
 */
int64_t dataset_n_items(const struct dataset *d, enum split split);
const struct dataset_file *dataset_item(const struct dataset *d, enum split split, int64_t i);

/* Codes of samples [from, from + n) of an item; the range must lie inside it. minmax is taken over
   the whole item. False with error_text only if the temporary file cannot be read. */
bool dataset_item_codes(const struct dataset *d, enum split split, int64_t i, int64_t from,
                        int64_t n, uint8_t *codes /* (n) */);

/* Windows: a split in clips of clip_samples, for validation while training. whole: window i is item
   i, cut or padded. crop: each item from its first sample in consecutive windows, the last one
   padded. minmax is taken over each window. */
int64_t dataset_n_windows(const struct dataset *d, enum split split);

/* mask is 1 where a sample is, 0 on padding (which eval never counts, whatever pad_loss says).
   codes and mask: (clip_samples). */
bool dataset_window(const struct dataset *d, enum split split, int64_t i, uint8_t *codes,
                    uint8_t *mask, int32_t *label);

#endif
