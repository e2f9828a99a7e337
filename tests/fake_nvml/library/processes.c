/* NVML's lists of the processes on a device; of a GPU in MIG mode, those on all its instances. */
#include <string.h>

#include "session.h"

/* Whether a process is in the list of a device, and on which instance it runs. */
static bool is_on(const struct process *process, const struct device *device, const struct instance **instance)
{
    *instance = find_instance(described(), process->unit);
    if (device->instance != NULL)
        return *instance == device->instance;
    if (*instance != NULL)
        return (*instance)->gpu == index_of(device->gpu);
    return strcmp(process->unit, device->gpu->uuid) == 0;
}

/* `count` comes in as the room in `list` and goes out as what there is, also when the room is too small. */
static nvmlReturn_t list(const struct device *device, bool graphics, unsigned *count, nvmlProcessInfo_t *list)
{
    unsigned room = *count;
    *count = 0;
    for (size_t i = 0; i < described()->process_count; i++) {
        const struct process *process = &described()->processes[i];
        const struct instance *instance;
        if (process->graphics != graphics || !is_on(process, device, &instance))
            continue;
        if (*count < room && list != NULL) {
            list[*count] = (nvmlProcessInfo_t){
                .pid = (unsigned)process->pid,
                .usedGpuMemory = process->memory,
                .gpuInstanceId = instance != NULL ? (unsigned)instance->gi : NVML_NO_INSTANCE,
                .computeInstanceId = instance != NULL ? (unsigned)instance->ci : NVML_NO_INSTANCE,
            };
        }
        *count += 1;
    }
    if (*count == 0)
        return NVML_SUCCESS;
    if (*count > room)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    return list == NULL ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS;
}

static nvmlReturn_t give(const char *function, nvmlDevice_t handle, bool graphics, unsigned *count,
                         nvmlProcessInfo_t *into)
{
    struct device device;
    nvmlReturn_t result = begin_on(function, handle, &device);
    if (result == NVML_SUCCESS)
        result = count != NULL ? list(&device, graphics, count, into) : NVML_ERROR_INVALID_ARGUMENT;
    return end(result);
}

/* The second and the third version differ in nothing that shows. */
EXPORTED nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t handle, unsigned *count,
                                                              nvmlProcessInfo_t *into)
{
    return give(__func__, handle, false, count, into);
}

EXPORTED nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t handle, unsigned *count,
                                                              nvmlProcessInfo_t *into)
{
    return give(__func__, handle, false, count, into);
}

EXPORTED nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v2(nvmlDevice_t handle, unsigned *count,
                                                               nvmlProcessInfo_t *into)
{
    return give(__func__, handle, true, count, into);
}

EXPORTED nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t handle, unsigned *count,
                                                               nvmlProcessInfo_t *into)
{
    return give(__func__, handle, true, count, into);
}
