/* What every function of the library begins and ends with: the lock, the description as it is now, its rules. */
#ifndef FAKE_NVML_SESSION_H
#define FAKE_NVML_SESSION_H

#include "description.h"

/* What a handle means now. */
struct device {
    const struct gpu *gpu;
    const struct instance *instance; /* NULL when it is the GPU itself */
};

/* Begin a call, that of a function on no device. `end` must follow whatever comes of it, with what is to be returned:
 *
 *     nvmlReturn_t result = begin(__func__);
 *     if (result == NVML_SUCCESS)
 *         ...
 *     return end(result);
 */
nvmlReturn_t begin(const char *function);
/* The same for a function on a device. */
nvmlReturn_t begin_on(const char *function, nvmlDevice_t handle, struct device *device);
nvmlReturn_t end(nvmlReturn_t result);

/* Between begin and end alone: the description, its rules for a device, and handles. */
const struct description *described(void);
nvmlReturn_t obey_rules(const char *function, const struct device *device);
nvmlDevice_t handle_of(const char *uuid);
size_t index_of(const struct gpu *gpu);

/* Copy text to a caller, who must have brought room for it. */
nvmlReturn_t give_text(const char *text, char *into, unsigned size);

#endif
