/* NVML's answers about MIG: the mode, the instances below a GPU, and what makes an instance. */
#include "session.h"

EXPORTED nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t handle, unsigned *mode, unsigned *pending)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS && (mode == NULL || pending == NULL))
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS && (device.instance != NULL || device.gpu->mig == MIG_IMPOSSIBLE))
        result = NVML_ERROR_NOT_SUPPORTED;
    if (result == NVML_SUCCESS) {
        *mode = device.gpu->mig == MIG_ON;
        *pending = device.gpu->mig_pending;
    }
    return end(result);
}

/* How many there can be, not how many there are; 0 where MIG is off. Source: NVML's reference. */
EXPORTED nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t handle, unsigned *count)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS && (count == NULL || device.instance != NULL))
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *count = device.gpu->mig == MIG_ON ? (unsigned)device.gpu->slices : 0;
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t handle, unsigned index, nvmlDevice_t *found)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result != NVML_SUCCESS)
        return end(result);
    if (found == NULL || device.instance != NULL)
        return end(NVML_ERROR_INVALID_ARGUMENT);
    if (device.gpu->mig == MIG_IMPOSSIBLE)
        return end(NVML_ERROR_NOT_SUPPORTED);
    if (device.gpu->mig == MIG_ON && index >= device.gpu->slices)
        return end(NVML_ERROR_INVALID_ARGUMENT);
    for (size_t i = 0; i < described()->instance_count; i++) {
        const struct instance *instance = &described()->instances[i];
        if (instance->gpu == index_of(device.gpu) && instance->place == index) {
            *found = handle_of(instance->uuid);
            return end(NVML_SUCCESS);
        }
    }
    return end(NVML_ERROR_NOT_FOUND);
}

EXPORTED nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t handle, nvmlDevice_t *parent)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS && (parent == NULL || device.instance == NULL))
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *parent = handle_of(device.gpu->uuid);
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t handle, unsigned *is_instance)
{
    struct device device;
    nvmlReturn_t result = begin_on(__func__, handle, &device);
    if (result == NVML_SUCCESS && is_instance == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *is_instance = device.instance != NULL;
    return end(result);
}

static nvmlReturn_t begin_on_instance(const char *function, nvmlDevice_t handle, const void *into, struct device *device)
{
    nvmlReturn_t result = begin_on(function, handle, device);
    if (result != NVML_SUCCESS)
        return result;
    if (into == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    return device->instance == NULL ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

EXPORTED nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t handle, unsigned *id)
{
    struct device device;
    nvmlReturn_t result = begin_on_instance(__func__, handle, id, &device);
    if (result == NVML_SUCCESS)
        *id = (unsigned)device.instance->gi;
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t handle, unsigned *id)
{
    struct device device;
    nvmlReturn_t result = begin_on_instance(__func__, handle, id, &device);
    if (result == NVML_SUCCESS)
        *id = (unsigned)device.instance->ci;
    return end(result);
}

#define MULTIPROCESSORS_A_SLICE 14 /* on an A100 */

EXPORTED nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t handle, nvmlDeviceAttributes_t *attributes)
{
    struct device device;
    nvmlReturn_t result = begin_on_instance(__func__, handle, attributes, &device);
    if (result == NVML_SUCCESS) {
        *attributes = (nvmlDeviceAttributes_t){
            .multiprocessorCount = (unsigned)device.instance->compute_slices * MULTIPROCESSORS_A_SLICE,
            .sharedCopyEngineCount = (unsigned)device.instance->gpu_slices,
            .sharedDecoderCount = (unsigned)device.instance->gpu_slices / 2,
            .gpuInstanceSliceCount = (unsigned)device.instance->gpu_slices,
            .computeInstanceSliceCount = (unsigned)device.instance->compute_slices,
            .memorySizeMB = device.instance->memory >> 20,
        };
    }
    return end(result);
}
