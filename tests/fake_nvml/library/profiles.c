/* NVML's answers about the sizes that a GPU can be split into. */
#include <stdio.h>

#include "session.h"

/* In the order of NVML's profile numbers. The memory of a card comes in as many parts as the last profile has; the
 * smaller ones get a little more than their share of the slices. `id` is what nvidia-smi shows for an A100. */
struct profile {
    unsigned slices, id, memory_parts;
};
static const struct profile SEVEN_SLICES[] = {{1, 19, 1}, {2, 14, 2}, {3, 9, 4}, {4, 5, 4}, {7, 0, 8}};
/* An A30: the numbers of what it lacks stay in between. */
static const struct profile FOUR_SLICES[] = {{1, 14, 1}, {2, 5, 2}, {0, 0, 0}, {4, 0, 4}};

#define MULTIPROCESSORS_A_SLICE 14

static const struct profile *find_profile(const struct gpu *gpu, unsigned number, uint64_t *memory)
{
    const struct profile *all = gpu->slices == 7 ? SEVEN_SLICES : FOUR_SLICES;
    size_t count = gpu->slices == 7 ? sizeof SEVEN_SLICES / sizeof *SEVEN_SLICES : sizeof FOUR_SLICES / sizeof *FOUR_SLICES;
    if ((gpu->slices != 7 && gpu->slices != 4) || number >= count || all[number].slices == 0)
        return NULL;
    *memory = gpu->memory / all[count - 1].memory_parts * all[number].memory_parts;
    return &all[number];
}

static nvmlReturn_t give_profile(const char *function, nvmlDevice_t handle, unsigned number,
                                 nvmlGpuInstanceProfileInfo_v2_t *into)
{
    struct device device;
    nvmlReturn_t result = begin_on(function, handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    if (into == NULL || device.instance != NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (into->version != NVML_GPU_INSTANCE_PROFILE_V2)
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    uint64_t memory;
    const struct profile *found = device.gpu->mig == MIG_IMPOSSIBLE ? NULL : find_profile(device.gpu, number, &memory);
    if (found == NULL)
        return NVML_ERROR_NOT_SUPPORTED;
    *into = (nvmlGpuInstanceProfileInfo_v2_t){
        .version = NVML_GPU_INSTANCE_PROFILE_V2,
        .id = found->id,
        .sliceCount = found->slices,
        .instanceCount = (unsigned)device.gpu->slices / found->slices,
        .multiprocessorCount = found->slices * MULTIPROCESSORS_A_SLICE,
        .copyEngineCount = found->slices,
        .memorySizeMB = memory >> 20,
    };
    snprintf(into->name, sizeof into->name, "MIG %ug.%ugb", found->slices, (unsigned)(memory >> 30));
    return NVML_SUCCESS;
}

EXPORTED nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(nvmlDevice_t handle, unsigned number,
                                                           nvmlGpuInstanceProfileInfo_v2_t *into)
{
    return end(give_profile(__func__, handle, number, into));
}

EXPORTED nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t handle, unsigned number,
                                                          nvmlGpuInstanceProfileInfo_t *into)
{
    nvmlGpuInstanceProfileInfo_v2_t found = {.version = NVML_GPU_INSTANCE_PROFILE_V2};
    nvmlReturn_t result = give_profile(__func__, handle, number, into != NULL ? &found : NULL);
    if (result == NVML_SUCCESS) {
        *into = (nvmlGpuInstanceProfileInfo_t){
            .id = found.id,
            .sliceCount = found.sliceCount,
            .instanceCount = found.instanceCount,
            .multiprocessorCount = found.multiprocessorCount,
            .copyEngineCount = found.copyEngineCount,
            .memorySizeMB = found.memorySizeMB,
        };
    }
    return end(result);
}
