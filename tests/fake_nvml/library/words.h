/* One line of a description as words: first positional ones, then name=value; and what is wrong with it, in words. */
#ifndef FAKE_NVML_WORDS_H
#define FAKE_NVML_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOST_WORDS 32

struct line {
    char *words[MOST_WORDS]; /* positional */
    size_t word_count;
    struct setting {
        char *name, *value;
        bool used;
    } settings[MOST_WORDS];
    size_t setting_count;
    char problem[256]; /* the first one; empty while all is well */
};

/* Cut `text` into words, in place; "double quotes" hold spaces, # begins a comment. */
void split_line(char *text, struct line *line);

/* Keep the first problem; always false, for use in a return. */
bool object(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A setting's value, or NULL where the line has none. */
char *take_text(struct line *line, const char *name);
/* The same, at home in an array of `size` bytes; a missing one is a problem unless it is `optional`. */
bool copy_text(struct line *line, const char *name, char *into, size_t size, bool optional);
/* A whole number up to `most`; the value in `into` stays where the line has none and it is `optional`. */
bool take_number(struct line *line, const char *name, uint64_t most, uint64_t *into, bool optional);
/* A word as a whole number. */
bool read_number(struct line *line, const char *what, const char *word, uint64_t most, uint64_t *into);

/* Whether there are just so many positional words, and no setting that nobody took. */
bool is_whole(struct line *line, size_t fewest, size_t most);

#endif
