/* The part of NVML's binary interface that the library offers: its numbers and structures, as callers lay them out.
 *
 * Source: pynvml.py of nvidia-ml-py 13.615.71, whose ctypes structures and version numbers these repeat.
 */
#ifndef FAKE_NVML_NVML_H
#define FAKE_NVML_NVML_H

#include <assert.h>
#include <limits.h>
#include <stdint.h>

/* Everything else is hidden, so that no name of ours meets one of the program that loads the library. */
#define EXPORTED __attribute__((visibility("default")))

typedef enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_UNKNOWN = 999,
    NVML_RETURN_WIDTH = INT_MAX, /* any number a description names may come back, not only those above */
} nvmlReturn_t;

/* To callers an opaque pointer. It stays valid for ever; what it leads to may be gone (session.c). */
typedef const struct handle *nvmlDevice_t;

#define NVML_NO_INSTANCE UINT_MAX
#define NVML_NOT_AVAILABLE UINT64_MAX

typedef struct {
    uint64_t total, free, used;
} nvmlMemory_t;

typedef struct {
    unsigned version;
    uint64_t total, reserved, free, used;
} nvmlMemory_v2_t;

typedef struct {
    uint64_t bar1Total, bar1Free, bar1Used; /* bytes */
} nvmlBAR1Memory_t;

typedef struct {
    unsigned pid;
    uint64_t usedGpuMemory;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlProcessInfo_t;

typedef struct {
    unsigned gpu, memory;
} nvmlUtilization_t;

typedef struct {
    unsigned multiprocessorCount, sharedCopyEngineCount, sharedDecoderCount, sharedEncoderCount, sharedJpegCount;
    unsigned sharedOfaCount, gpuInstanceSliceCount, computeInstanceSliceCount;
    uint64_t memorySizeMB;
} nvmlDeviceAttributes_t;

typedef struct {
    unsigned id, isP2pSupported, sliceCount, instanceCount, multiprocessorCount, copyEngineCount, decoderCount;
    unsigned encoderCount, jpegCount, ofaCount;
    uint64_t memorySizeMB;
} nvmlGpuInstanceProfileInfo_t;

typedef struct {
    unsigned version, id, isP2pSupported, sliceCount, instanceCount, multiprocessorCount, copyEngineCount, decoderCount;
    unsigned encoderCount, jpegCount, ofaCount;
    uint64_t memorySizeMB;
    char name[96];
} nvmlGpuInstanceProfileInfo_v2_t;

typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef struct {
    unsigned version, sensorType;
    int temperature;
} nvmlTemperature_v1_t;

/* A structure's version holds its size, which is how NVML notices a caller that was built against another header. */
#define NVML_MEMORY_V2 0x02000028u
#define NVML_GPU_INSTANCE_PROFILE_V2 0x02000098u
#define NVML_TEMPERATURE_V1 0x0100000Cu
static_assert(sizeof(nvmlMemory_v2_t) == (NVML_MEMORY_V2 & 0xffffff), "as in its version");
static_assert(sizeof(nvmlGpuInstanceProfileInfo_v2_t) == (NVML_GPU_INSTANCE_PROFILE_V2 & 0xffffff), "as in its version");
static_assert(sizeof(nvmlTemperature_v1_t) == (NVML_TEMPERATURE_V1 & 0xffffff), "as in its version");
static_assert(sizeof(nvmlProcessInfo_t) == 24, "as in NVML");

#endif
