/* The hardware that a description file describes, as values. README.md has the file's format. */
#ifndef FAKE_NVML_DESCRIPTION_H
#define FAKE_NVML_DESCRIPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "nvml.h"

#define UUID_SIZE 96
#define NAME_SIZE 96
#define UNKNOWN_READING UINT64_MAX /* not in the description: NVML answers NOT_SUPPORTED */

enum mig { MIG_IMPOSSIBLE, MIG_OFF, MIG_ON };

struct gpu {
    char uuid[UUID_SIZE], name[NAME_SIZE], pci[32], serial[30];
    unsigned pci_domain, pci_bus, pci_device;
    uint64_t memory, used, reserved; /* bytes */
    uint64_t slices;
    enum mig mig;
    bool mig_pending;
    uint64_t utilisation, memory_utilisation; /* percent */
    uint64_t temperature;                     /* degrees Celsius */
    uint64_t power, power_limit;              /* milliwatts */
    uint64_t fan;                             /* percent */
};

struct instance {
    size_t gpu;     /* index of its GPU */
    uint64_t place; /* the index NVML finds it at below its GPU */
    uint64_t gi, ci;
    char uuid[UUID_SIZE], profile[32];
    uint64_t compute_slices, gpu_slices;
    uint64_t memory, used; /* bytes */
};

struct process {
    uint64_t pid;
    bool graphics; /* draws instead of computing */
    char unit[UUID_SIZE];
    uint64_t memory; /* bytes; NVML_NOT_AVAILABLE where the driver does not say */
};

/* How a function misbehaves: it takes its time, or fails. */
struct rule {
    char function[64];   /* "*" for every one */
    bool on_device;      /* only on GPU `gpu` and its instances, or on the unit `uuid` */
    size_t gpu;          /* when `uuid` is empty */
    char uuid[UUID_SIZE];
    nvmlReturn_t error;  /* NVML_SUCCESS for a delay */
    uint64_t milliseconds;
};

struct description {
    char driver[80], nvml[80];
    uint64_t cuda;
    struct gpu *gpus;
    struct instance *instances; /* in the file's order */
    struct process *processes;
    struct rule *rules;
    size_t gpu_count, instance_count, process_count, rule_count;
};

/* Read a description. What is wrong is told on stderr with the line's number; then false, and nothing is kept. */
bool read_description(FILE *file, const char *path, struct description *into);
void free_description(struct description *description);

const struct gpu *find_gpu(const struct description *description, const char *uuid);
const struct instance *find_instance(const struct description *description, const char *uuid);

#endif
