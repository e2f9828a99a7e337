/* NVML's answers about the driver. */
#include "session.h"

static nvmlReturn_t give_cuda(const char *function, int *version)
{
    nvmlReturn_t result = begin(function);
    if (result == NVML_SUCCESS && version == NULL)
        result = NVML_ERROR_INVALID_ARGUMENT;
    if (result == NVML_SUCCESS)
        *version = (int)described()->cuda;
    return end(result);
}

EXPORTED nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned size)
{
    nvmlReturn_t result = begin(__func__);
    return end(result == NVML_SUCCESS ? give_text(described()->driver, version, size) : result);
}

EXPORTED nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned size)
{
    nvmlReturn_t result = begin(__func__);
    return end(result == NVML_SUCCESS ? give_text(described()->nvml, version, size) : result);
}

EXPORTED nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version)
{
    return give_cuda(__func__, version);
}

EXPORTED nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    return give_cuda(__func__, version);
}
