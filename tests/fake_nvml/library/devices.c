/* NVML's answers about one device: which it is, its memory, how busy and how warm it is. */
#include <strings.h>

#include "session.h"

/* Hand out the handle of a device that was looked for, unless a rule is in the way. */
static nvmlReturn_t give_handle(const char *function, const struct device *found, nvmlDevice_t *handle)
{
    nvmlReturn_t result = obey_rules(function, found);
    if (result == NVML_SUCCESS)
        *handle = handle_of(found->instance != NULL ? found->instance->uuid : found->gpu->uuid);
    return result;
}

EXPORTED nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count)
{
    nvmlReturn_t result = begin(__func__);
    if (result == NVML_SUCCESS && count == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *count = (unsigned)described()->gpu_count;
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *handle)
{
    nvmlReturn_t result = begin(__func__);
    if (result == NVML_SUCCESS && (handle == NULL || index >= described()->gpu_count))
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS) {
        struct device found = {.gpu = &described()->gpus[index]};
        result = give_handle(__func__, &found, handle);
    }
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *handle)
{
    nvmlReturn_t result = begin(__func__);
    if (result == NVML_SUCCESS && (handle == NULL || uuid == NULL))
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS) {
        struct device found = {.gpu = find_gpu(described(), uuid), .instance = find_instance(described(), uuid)};
        if (found.instance != NULL)
            found.gpu = &described()->gpus[found.instance->gpu];
        result = found.gpu != NULL ? give_handle(__func__, &found, handle) : NVML_ERROR_NOT_FOUND;
    }
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char *pci, nvmlDevice_t *handle)
{
    nvmlReturn_t result = begin(__func__);
    if (result != NVML_SUCCESS)
        return end(result);
    if (handle == NULL || pci == NULL)
        return end(NVML_ERROR_INVALID_ARGUMENT);
    for (size_t i = 0; i < described()->gpu_count; i++) {
        struct device found = {.gpu = &described()->gpus[i]};
        if (strcasecmp(found.gpu->pci, pci) == 0)
            return end(give_handle(__func__, &found, handle));
    }
    return end(NVML_ERROR_NOT_FOUND);
}

EXPORTED nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t handle, char *name, unsigned size)
{
    struct device device;
    char full[NAME_SIZE + sizeof device.instance->profile + sizeof " MIG "];
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS) {
        snprintf(full, sizeof full, device.instance != NULL ? "%s MIG %s" : "%s", device.gpu->name,
                 device.instance != NULL ? device.instance->profile : "");
        result = give_text(full, name, size);
    }
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t handle, char *uuid, unsigned size)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS)
        result = give_text(device.instance != NULL ? device.instance->uuid : device.gpu->uuid, uuid, size);
    return end(result);
}

/* Of an instance the place below its GPU. Source: NVML's reference, nvmlDeviceGetIndex. */
EXPORTED nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t handle, unsigned *index)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS && index == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *index = (unsigned)(device.instance != NULL ? device.instance->place : index_of(device.gpu));
    return end(result);
}

static uint64_t memory_of(const struct device *device, uint64_t *used, uint64_t *reserved)
{
    *used = device->instance != NULL ? device->instance->used : device->gpu->used;
    *reserved = device->instance != NULL ? 0 : device->gpu->reserved;
    return device->instance != NULL ? device->instance->memory : device->gpu->memory;
}

/* The old form counts what the driver keeps for itself as used. */
EXPORTED nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t *memory)
{
    struct device device;
    uint64_t used, reserved;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS && memory == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS) {
        memory->total = memory_of(&device, &used, &reserved);
        memory->used = used + reserved;
        memory->free = memory->total - memory->used;
    }
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t handle, nvmlMemory_v2_t *memory)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS && memory == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS && memory->version != NVML_MEMORY_V2)
        result = NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (result == NVML_SUCCESS) {
        memory->total = memory_of(&device, &memory->used, &memory->reserved);
        memory->free = memory->total - memory->used - memory->reserved;
    }
    return end(result);
}

/* While a GPU is in MIG mode nobody has this figure, neither for it nor for its instances. */
EXPORTED nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t handle, nvmlUtilization_t *rates)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS && rates == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS && (device.gpu->mig == MIG_ON || device.gpu->utilisation == UNKNOWN_READING))
        result = NVML_ERROR_NOT_SUPPORTED;
    if (result == NVML_SUCCESS) {
        rates->gpu = (unsigned)device.gpu->utilisation;
        rates->memory = device.gpu->memory_utilisation == UNKNOWN_READING ? 0 : (unsigned)device.gpu->memory_utilisation;
    }
    return end(result);
}

/* The window through which the processor sees the memory: all of it on these cards; MIG devices have one too. */
EXPORTED nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t handle, nvmlBAR1Memory_t *memory)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS && memory == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS) {
        uint64_t all = device.instance != NULL ? device.instance->memory : device.gpu->memory;
        *memory = (nvmlBAR1Memory_t){.bar1Total = all, .bar1Free = all};
    }
    return end(result);
}
