/* The names of the library's own functions, as rules of a description give them. */
#ifndef FAKE_NVML_FUNCTIONS_H
#define FAKE_NVML_FUNCTIONS_H

#include <stdbool.h>

/* Whether a rule of this name can ever match: `*`, a function of the library, or one without its version. */
bool is_function(const char *name);
/* Whether a rule of this name is about this function. */
bool names_function(const char *name, const char *function);

#endif
