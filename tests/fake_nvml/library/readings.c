/* NVML's answers about a card as a thing: its sensors, its place on the bus, its number. Instances have none of these. */
#include <stdio.h>

#include "session.h"

/* Begin a call that only a physical GPU answers. */
static nvmlReturn_t begin_on_gpu(const char *function, nvmlDevice_t handle, const void *into, const struct gpu **gpu)
{
    struct device device;
    nvmlReturn_t result = begin_on(function, handle, &device);
    if (result != NVML_SUCCESS)
        return result;
    *gpu = device.gpu;
    if (into == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    return device.instance != NULL ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

static nvmlReturn_t give_number(uint64_t reading, unsigned *into)
{
    if (reading == UNKNOWN_READING)
        return NVML_ERROR_NOT_SUPPORTED;
    *into = (unsigned)reading;
    return NVML_SUCCESS;
}

EXPORTED nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t handle, unsigned sensor, unsigned *celsius)
{
    const struct gpu *gpu;
    nvmlReturn_t result = begin_on_gpu(__func__, handle, celsius, &gpu);
    if (result == NVML_SUCCESS)
        result = sensor == 0 ? give_number(gpu->temperature, celsius) : NVML_ERROR_INVALID_ARGUMENT;
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t handle, nvmlTemperature_v1_t *asked)
{
    const struct gpu *gpu;
    unsigned celsius = 0;
    nvmlReturn_t result = begin_on_gpu(__func__, handle, asked, &gpu);
    if (result == NVML_SUCCESS && asked->version != NVML_TEMPERATURE_V1)
        result = NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (result == NVML_SUCCESS)
        result = asked->sensorType == 0 ? give_number(gpu->temperature, &celsius) : NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        asked->temperature = (int)celsius;
    return end(result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetFanSpeed(nvmlDevice_t handle, unsigned *percent)
{
    const struct gpu *gpu;
    nvmlReturn_t result = begin_on_gpu(__func__, handle, percent, &gpu);
    return end(result == NVML_SUCCESS ? give_number(gpu->fan, percent) : result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t handle, unsigned *milliwatts)
{
    const struct gpu *gpu;
    nvmlReturn_t result = begin_on_gpu(__func__, handle, milliwatts, &gpu);
    return end(result == NVML_SUCCESS ? give_number(gpu->power, milliwatts) : result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t handle, unsigned *milliwatts)
{
    const struct gpu *gpu;
    nvmlReturn_t result = begin_on_gpu(__func__, handle, milliwatts, &gpu);
    return end(result == NVML_SUCCESS ? give_number(gpu->power_limit, milliwatts) : result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t handle, unsigned *milliwatts)
{
    const struct gpu *gpu;
    nvmlReturn_t result = begin_on_gpu(__func__, handle, milliwatts, &gpu);
    return end(result == NVML_SUCCESS ? give_number(gpu->power_limit, milliwatts) : result);
}

/* The number in /dev/nvidiaN. */
EXPORTED nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t handle, unsigned *minor)
{
    const struct gpu *gpu;
    nvmlReturn_t result = begin_on_gpu(__func__, handle, minor, &gpu);
    return end(result == NVML_SUCCESS ? give_number(index_of(gpu), minor) : result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t handle, char *serial, unsigned size)
{
    const struct gpu *gpu;
    nvmlReturn_t result = begin_on_gpu(__func__, handle, serial, &gpu);
    return end(result == NVML_SUCCESS ? give_text(gpu->serial, serial, size) : result);
}

EXPORTED nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t handle, nvmlPciInfo_t *info)
{
    const struct gpu *gpu;
    nvmlReturn_t result = begin_on_gpu(__func__, handle, info, &gpu);
    if (result == NVML_SUCCESS) {
        *info = (nvmlPciInfo_t){.domain = gpu->pci_domain, .bus = gpu->pci_bus, .device = gpu->pci_device};
        snprintf(info->busIdLegacy, sizeof info->busIdLegacy, "%04X:%02X:%02X.0", gpu->pci_domain & 0xffff,
                 gpu->pci_bus, gpu->pci_device);
        result = give_text(gpu->pci, info->busId, sizeof info->busId);
    }
    return end(result);
}
