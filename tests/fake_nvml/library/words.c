/* Cuts lines into words and reads numbers, strictly: whatever is odd is a problem, never a default. */
#include "words.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SPACES[] = " \t\r\n";

bool object(struct line *line, const char *format, ...)
{
    if (line->problem[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line->problem, sizeof line->problem, format, arguments);
        va_end(arguments);
    }
    return false;
}

/* The end of the word at `start`; its quotes are taken out on the way. NULL when a quote is never closed. */
static char *end_of_word(char *start, bool *more)
{
    char *from = start, *to = start;
    bool quoted = false;
    for (; *from != '\0' && (quoted || strchr(SPACES, *from) == NULL); from++) {
        if (*from == '"')
            quoted = !quoted;
        else
            *to++ = *from;
    }
    *more = *from != '\0';
    *to = '\0';
    return quoted ? NULL : from + (*more ? 1 : 0);
}

static void add_word(struct line *line, char *word)
{
    char *sign = strchr(word, '=');
    if (sign == NULL && line->setting_count == 0) {
        if (line->word_count == MOST_WORDS)
            object(line, "too many words");
        else
            line->words[line->word_count++] = word;
        return;
    }
    if (sign == NULL) {
        object(line, "'%s' has no = though it stands among settings", word);
        return;
    }
    *sign = '\0';
    for (size_t i = 0; i < line->setting_count; i++) {
        if (strcmp(line->settings[i].name, word) == 0)
            object(line, "'%s' is given twice", word);
    }
    if (line->setting_count == MOST_WORDS)
        object(line, "too many settings");
    else
        line->settings[line->setting_count++] = (struct setting){.name = word, .value = sign + 1};
}

void split_line(char *text, struct line *line)
{
    bool more = true;
    memset(line, 0, sizeof *line);
    while (more) {
        text += strspn(text, SPACES);
        if (*text == '\0' || *text == '#')
            return;
        char *word = text;
        text = end_of_word(word, &more);
        if (text == NULL) {
            object(line, "a quote is not closed");
            return;
        }
        add_word(line, word);
    }
}

char *take_text(struct line *line, const char *name)
{
    for (size_t i = 0; i < line->setting_count; i++) {
        if (strcmp(line->settings[i].name, name) == 0) {
            line->settings[i].used = true;
            return line->settings[i].value;
        }
    }
    return NULL;
}

bool copy_text(struct line *line, const char *name, char *into, size_t size, bool optional)
{
    const char *value = take_text(line, name);
    if (value == NULL)
        return optional || object(line, "%s= is missing", name);
    if (*value == '\0' || strlen(value) >= size)
        return object(line, "%s= must have 1 to %zu characters", name, size - 1);
    memcpy(into, value, strlen(value) + 1);
    return true;
}

bool read_number(struct line *line, const char *what, const char *word, uint64_t most, uint64_t *into)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(word, &end, 10);
    /* strtoull alone would take a sign or a space before the digits. */
    if (*word < '0' || *word > '9' || *end != '\0' || errno != 0 || number > most)
        return object(line, "%s must be a whole number up to %" PRIu64 ", not '%s'", what, most, word);
    *into = number;
    return true;
}

bool take_number(struct line *line, const char *name, uint64_t most, uint64_t *into, bool optional)
{
    const char *value = take_text(line, name);
    if (value == NULL)
        return optional || object(line, "%s= is missing", name);
    return read_number(line, name, value, most, into);
}

bool is_whole(struct line *line, size_t fewest, size_t most)
{
    if (line->problem[0] != '\0')
        return false;
    if (line->word_count < fewest || line->word_count > most)
        return object(line, "'%s' takes %zu to %zu words, not %zu", line->words[0], fewest - 1, most - 1,
                      line->word_count - 1);
    for (size_t i = 0; i < line->setting_count; i++) {
        if (!line->settings[i].used)
            return object(line, "'%s' has no setting '%s'", line->words[0], line->settings[i].name);
    }
    return true;
}
