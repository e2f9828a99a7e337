/* The table of NVML's errors, and nvmlErrorString, which NVML answers before it is initialised too. */
#include "errors.h"

#include <stddef.h>
#include <string.h>

static const struct {
    int number;
    const char *name, *text;
} ERRORS[] = {
    {0, "SUCCESS", "Success"},
    {1, "UNINITIALIZED", "Uninitialized"},
    {2, "INVALID_ARGUMENT", "Invalid Argument"},
    {3, "NOT_SUPPORTED", "Not Supported"},
    {4, "NO_PERMISSION", "Insufficient Permissions"},
    {5, "ALREADY_INITIALIZED", "Already Initialized"},
    {6, "NOT_FOUND", "Not Found"},
    {7, "INSUFFICIENT_SIZE", "Insufficient Size"},
    {8, "INSUFFICIENT_POWER", "Insufficient External Power"},
    {9, "DRIVER_NOT_LOADED", "Driver Not Loaded"},
    {10, "TIMEOUT", "Timeout"},
    {11, "IRQ_ISSUE", "Interrupt Request Issue"},
    {12, "LIBRARY_NOT_FOUND", "NVML Shared Library Not Found"},
    {13, "FUNCTION_NOT_FOUND", "Function Not Found"},
    {14, "CORRUPTED_INFOROM", "Corrupted infoROM"},
    {15, "GPU_IS_LOST", "GPU is lost"},
    {16, "RESET_REQUIRED", "GPU requires reset"},
    {17, "OPERATING_SYSTEM", "GPU access blocked by the operating system"},
    {18, "LIB_RM_VERSION_MISMATCH", "Driver/library version mismatch"},
    {19, "IN_USE", "In use by another client"},
    {20, "MEMORY", "Insufficient Memory"},
    {21, "NO_DATA", "No data"},
    {22, "VGPU_ECC_NOT_SUPPORTED", "ECC is not supported on vGPU host"},
    {23, "INSUFFICIENT_RESOURCES", "Insufficient Resources"},
    {24, "FREQ_NOT_SUPPORTED", "Frequency Not Supported"},
    {25, "ARGUMENT_VERSION_MISMATCH", "Argument Version Mismatch"},
    {26, "DEPRECATED", "Deprecated"},
    {27, "NOT_READY", "Not Ready"},
    {28, "GPU_NOT_FOUND", "GPU Not Found"},
    {29, "INVALID_STATE", "Invalid State"},
    {30, "RESET_TYPE_NOT_SUPPORTED", "Reset Type Not Supported"},
    {999, "UNKNOWN", "Unknown Error"},
};
static const size_t ERROR_COUNT = sizeof ERRORS / sizeof *ERRORS;

bool find_error(const char *name, nvmlReturn_t *error)
{
    for (size_t i = 1; i < ERROR_COUNT; i++) {
        if (strcmp(ERRORS[i].name, name) == 0) {
            *error = (nvmlReturn_t)ERRORS[i].number;
            return true;
        }
    }
    return false;
}

EXPORTED const char *nvmlErrorString(nvmlReturn_t result)
{
    for (size_t i = 0; i < ERROR_COUNT; i++) {
        if (ERRORS[i].number == (int)result)
            return ERRORS[i].text;
    }
    return "Unknown Error";
}
