/* Keeps the description as fresh as the file, and handles that outlive it; begins and ends NVML's sessions. */
#define _GNU_SOURCE
#include "session.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "functions.h"

struct handle {
    struct handle *next;
    char uuid[UUID_SIZE];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned sessions; /* nvmlInit calls that no nvmlShutdown has answered */
static struct handle *handles;

static struct description current;
static bool current_is_well;
/* What is described where the environment says nothing; build.py may name a file. */
#ifndef USUAL_DESCRIPTION
#define USUAL_DESCRIPTION NULL
#endif

/* The file `current` came from stays open: as long as it is, no other file can get its inode number. */
static FILE *source;
static struct stat source_status;

/* Every call looks at the file, and a wrong one is told of once, not at each call. */
static bool is_fresh(const char *path)
{
    struct stat now;
    return source != NULL && stat(path, &now) == 0 && now.st_dev == source_status.st_dev &&
           now.st_ino == source_status.st_ino && now.st_size == source_status.st_size &&
           now.st_mtim.tv_sec == source_status.st_mtim.tv_sec && now.st_mtim.tv_nsec == source_status.st_mtim.tv_nsec;
}

static nvmlReturn_t refresh(void)
{
    const char *path = getenv("FAKE_NVML_FILE");
    if (path == NULL)
        path = USUAL_DESCRIPTION;
    if (path == NULL) {
        fprintf(stderr, "fake_nvml: FAKE_NVML_FILE names no description\n");
        return NVML_ERROR_UNKNOWN;
    }
    if (!is_fresh(path)) {
        if (source != NULL)
            fclose(source);
        free_description(&current);
        current_is_well = false;
        source = fopen(path, "re");
        if (source == NULL || fstat(fileno(source), &source_status) != 0) {
            fprintf(stderr, "fake_nvml: %s: %s\n", path, strerror(errno));
            return NVML_ERROR_UNKNOWN;
        }
        current_is_well = read_description(source, path, &current);
    }
    return current_is_well ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

const struct description *described(void)
{
    return &current;
}

size_t index_of(const struct gpu *gpu)
{
    return (size_t)(gpu - current.gpus);
}

static bool is_about(const struct rule *rule, const char *function, const struct device *device)
{
    if (!names_function(rule->function, function) || rule->on_device != (device != NULL))
        return false;
    if (device == NULL)
        return true;
    if (rule->uuid[0] == '\0')
        return rule->gpu == index_of(device->gpu);
    return strcmp(rule->uuid, device->instance != NULL ? device->instance->uuid : device->gpu->uuid) == 0;
}

nvmlReturn_t obey_rules(const char *function, const struct device *device)
{
    for (size_t i = 0; i < current.rule_count; i++) {
        const struct rule *rule = &current.rules[i];
        if (!is_about(rule, function, device))
            continue;
        if (rule->error != NVML_SUCCESS)
            return rule->error;
        struct timespec left = {(time_t)(rule->milliseconds / 1000), (long)(rule->milliseconds % 1000) * 1000000};
        while (nanosleep(&left, &left) != 0 && errno == EINTR)
            ;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t begin(const char *function)
{
    pthread_mutex_lock(&lock);
    if (sessions == 0)
        return NVML_ERROR_UNINITIALIZED;
    nvmlReturn_t result = refresh();
    return result == NVML_SUCCESS ? obey_rules(function, NULL) : result;
}

nvmlReturn_t end(nvmlReturn_t result)
{
    pthread_mutex_unlock(&lock);
    return result;
}

nvmlReturn_t begin_on(const char *function, nvmlDevice_t handle, struct device *device)
{
    nvmlReturn_t result = begin(function);
    if (result != NVML_SUCCESS)
        return result;
    if (handle == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    device->instance = find_instance(&current, handle->uuid);
    device->gpu = device->instance != NULL ? &current.gpus[device->instance->gpu] : find_gpu(&current, handle->uuid);
    /* An instance that was destroyed leaves an invalid handle, a GPU cannot go but by falling off the bus. */
    if (device->gpu == NULL)
        return strncmp(handle->uuid, "MIG-", 4) == 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_GPU_IS_LOST;
    return obey_rules(function, device);
}

nvmlDevice_t handle_of(const char *uuid)
{
    for (struct handle *handle = handles; handle != NULL; handle = handle->next) {
        if (strcmp(handle->uuid, uuid) == 0)
            return handle;
    }
    struct handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL)
        abort();
    strncpy(handle->uuid, uuid, sizeof handle->uuid - 1);
    handle->next = handles;
    handles = handle;
    return handle;
}

nvmlReturn_t give_text(const char *text, char *into, unsigned size)
{
    if (into == NULL)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) >= size)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(into, text, strlen(text) + 1);
    return NVML_SUCCESS;
}

static nvmlReturn_t open_session(const char *function)
{
    pthread_mutex_lock(&lock);
    nvmlReturn_t result = refresh();
    if (result == NVML_SUCCESS)
        result = obey_rules(function, NULL);
    if (result == NVML_SUCCESS)
        sessions++;
    return end(result);
}

EXPORTED nvmlReturn_t nvmlInit(void)
{
    return open_session(__func__);
}

EXPORTED nvmlReturn_t nvmlInit_v2(void)
{
    return open_session(__func__);
}

/* The flags say what is no failure (no GPUs, no attaching); nothing described here is one. */
EXPORTED nvmlReturn_t nvmlInitWithFlags(unsigned flags)
{
    (void)flags;
    return open_session(__func__);
}

EXPORTED nvmlReturn_t nvmlShutdown(void)
{
    pthread_mutex_lock(&lock);
    if (sessions == 0)
        return end(NVML_ERROR_UNINITIALIZED);
    /* A description that is wrong by now must not keep a caller from closing; rules of its own may. */
    nvmlReturn_t result = refresh() == NVML_SUCCESS ? obey_rules(__func__, NULL) : NVML_SUCCESS;
    sessions -= result == NVML_SUCCESS;
    return end(result);
}
