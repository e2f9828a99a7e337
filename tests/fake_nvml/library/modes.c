/* NVML's answers that are the same for every described card: programs ask for them, nothing here depends on them. */
#include "session.h"

/* What a card in a server says of such a thing; of an instance there is no answer. */
static nvmlReturn_t give_fixed(const char *function, nvmlDevice_t handle, unsigned value, unsigned *into)
{
    struct device device;
    nvmlReturn_t result = begin_on(function, handle, &device);
    if (result == NVML_SUCCESS && into == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS && device.instance != NULL)
        result = NVML_ERROR_NOT_SUPPORTED;
    if (result == NVML_SUCCESS)
        *into = value;
    return end(result);
}

/* A function that such a card does not have. */
static nvmlReturn_t refuse(const char *function, nvmlDevice_t handle)
{
    struct device device;
    nvmlReturn_t result = begin_on(function, handle, &device);
    return end(result == NVML_SUCCESS ? NVML_ERROR_NOT_SUPPORTED : result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t handle, unsigned *on)
{
    return give_fixed(__func__, handle, 1, on);
}

/* 0 is the fastest. */
EXPORTED nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t handle, unsigned *state)
{
    return give_fixed(__func__, handle, 0, state);
}

/* 0 lets any number of processes compute. */
EXPORTED nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t handle, unsigned *mode)
{
    return give_fixed(__func__, handle, 0, mode);
}

EXPORTED nvmlReturn_t nvmlDeviceGetDisplayActive(nvmlDevice_t handle, unsigned *on)
{
    return give_fixed(__func__, handle, 0, on);
}

EXPORTED nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t handle, unsigned type, unsigned counter, uint64_t *count)
{
    unsigned none = 0;
    (void)type, (void)counter;
    nvmlReturn_t result = give_fixed(__func__, handle, 0, count != NULL ? &none : NULL);
    if (result == NVML_SUCCESS)
        *count = none;
    return result;
}

EXPORTED nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t handle, unsigned *percent, unsigned *period)
{
    (void)percent, (void)period;
    return refuse(__func__, handle);
}

EXPORTED nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t handle, unsigned *percent, unsigned *period)
{
    (void)percent, (void)period;
    return refuse(__func__, handle);
}

/* Windows alone has them. */
EXPORTED nvmlReturn_t nvmlDeviceGetDriverModel_v2(nvmlDevice_t handle, unsigned *model, unsigned *pending)
{
    (void)model, (void)pending;
    return refuse(__func__, handle);
}

EXPORTED nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t handle, void *samples, unsigned *count, uint64_t since)
{
    (void)samples, (void)count, (void)since;
    return refuse(__func__, handle);
}

#define MEGAHERTZ 1410 /* the most an A100 computes with */

EXPORTED nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t handle, unsigned type, unsigned *megahertz)
{
    (void)type;
    return give_fixed(__func__, handle, MEGAHERTZ, megahertz);
}

EXPORTED nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t handle, unsigned type, unsigned *megahertz)
{
    (void)type;
    return give_fixed(__func__, handle, MEGAHERTZ, megahertz);
}
