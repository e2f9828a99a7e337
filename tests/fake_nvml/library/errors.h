/* NVML's errors by number, by the name they have in a description, and in NVML's own words. */
#ifndef FAKE_NVML_ERRORS_H
#define FAKE_NVML_ERRORS_H

#include <stdbool.h>

#include "nvml.h"

/* `name` without NVML_ERROR_, such as GPU_IS_LOST; false when there is none. */
bool find_error(const char *name, nvmlReturn_t *error);

#endif
