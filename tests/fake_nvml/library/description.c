/* Reads description files; a line that describes what cannot be is refused, and with it the whole file. */
#define _GNU_SOURCE
#include "description.h"

#include <stdlib.h>
#include <string.h>

#include "errors.h"
#include "functions.h"
#include "words.h"

#define MOST_SLICES 8

/* One more element of zeros at the end of an array. */
static void *append(void *array, size_t *count, size_t size)
{
    char *grown = realloc(array, (*count + 1) * size);
    if (grown == NULL)
        abort();
    memset(grown + *count * size, 0, size);
    *count += 1;
    return grown;
}
#define APPEND(array, count) ((array) = append((array), &(count), sizeof *(array)), &(array)[(count) - 1])

const struct gpu *find_gpu(const struct description *description, const char *uuid)
{
    for (size_t i = 0; i < description->gpu_count; i++) {
        if (strcmp(description->gpus[i].uuid, uuid) == 0)
            return &description->gpus[i];
    }
    return NULL;
}

const struct instance *find_instance(const struct description *description, const char *uuid)
{
    for (size_t i = 0; i < description->instance_count; i++) {
        if (strcmp(description->instances[i].uuid, uuid) == 0)
            return &description->instances[i];
    }
    return NULL;
}

static bool take_uuid(struct line *line, const struct description *known, const char *prefix, char *into)
{
    char uuid[UUID_SIZE] = "";
    if (!copy_text(line, "uuid", uuid, sizeof uuid, false))
        return false;
    if (strncmp(uuid, prefix, strlen(prefix)) != 0)
        return object(line, "uuid=%s must begin with %s", uuid, prefix);
    if (find_gpu(known, uuid) != NULL || find_instance(known, uuid) != NULL)
        return object(line, "uuid=%s is described twice", uuid);
    memcpy(into, uuid, sizeof uuid);
    return true;
}

/* A switch is on or off; `none` too where the GPU may lack it. */
static bool take_mig(struct line *line, struct gpu *gpu)
{
    const char *mig = take_text(line, "mig"), *pending = take_text(line, "pending");
    if (mig == NULL || strcmp(mig, "none") == 0)
        gpu->mig = MIG_IMPOSSIBLE;
    else if (strcmp(mig, "off") == 0)
        gpu->mig = MIG_OFF;
    else if (strcmp(mig, "on") == 0)
        gpu->mig = MIG_ON;
    else
        return object(line, "mig= must be none, off or on, not '%s'", mig);
    if (pending == NULL)
        gpu->mig_pending = gpu->mig == MIG_ON;
    else if (gpu->mig == MIG_IMPOSSIBLE || (strcmp(pending, "on") != 0 && strcmp(pending, "off") != 0))
        return object(line, "pending= must be off or on, and needs mig=");
    else
        gpu->mig_pending = strcmp(pending, "on") == 0;
    return true;
}

/* Written as NVML does, with a domain of eight digits; by default the bus follows the index. */
static bool take_pci(struct line *line, size_t index, struct gpu *gpu)
{
    int end = 0;
    snprintf(gpu->pci, sizeof gpu->pci, "%08zX:%02zX:00.0", (index + 1) >> 8, (index + 1) & 0xff);
    if (!copy_text(line, "pci", gpu->pci, sizeof gpu->pci, true))
        return false;
    sscanf(gpu->pci, "%8X:%2X:%2X.0%n", &gpu->pci_domain, &gpu->pci_bus, &gpu->pci_device, &end);
    return (end == 16 && gpu->pci[end] == '\0') || object(line, "pci= must look like 00000000:01:00.0, not '%s'", gpu->pci);
}

static bool take_readings(struct line *line, struct gpu *gpu)
{
    gpu->utilisation = gpu->memory_utilisation = gpu->temperature = gpu->fan = UNKNOWN_READING;
    gpu->power = gpu->power_limit = UNKNOWN_READING;
    return take_number(line, "utilisation", 100, &gpu->utilisation, true) &&
           take_number(line, "memory-utilisation", 100, &gpu->memory_utilisation, true) &&
           take_number(line, "temperature", 200, &gpu->temperature, true) &&
           take_number(line, "fan", 100, &gpu->fan, true) &&
           take_number(line, "power", UINT32_MAX, &gpu->power, true) &&
           take_number(line, "power-limit", UINT32_MAX, &gpu->power_limit, true);
}

/* gpu INDEX uuid= name= memory= [...] */
static bool read_gpu(struct line *line, struct description *into)
{
    uint64_t index;
    struct gpu gpu = {.slices = 7};
    if (line->word_count != 2 || !read_number(line, "the index", line->words[1], UINT32_MAX, &index))
        return object(line, "gpu takes an index");
    if (index != into->gpu_count)
        return object(line, "GPU %zu must come next, not %s", into->gpu_count, line->words[1]);
    snprintf(gpu.serial, sizeof gpu.serial, "%zu", 1320000000000 + into->gpu_count);
    if (!take_uuid(line, into, "GPU-", gpu.uuid) || !copy_text(line, "name", gpu.name, sizeof gpu.name, false) ||
        !take_pci(line, into->gpu_count, &gpu) ||
        !copy_text(line, "serial", gpu.serial, sizeof gpu.serial, true) ||
        !take_number(line, "memory", INT64_MAX, &gpu.memory, false) ||
        !take_number(line, "used", gpu.memory, &gpu.used, true) ||
        !take_number(line, "reserved", gpu.memory - gpu.used, &gpu.reserved, true) ||
        !take_number(line, "slices", MOST_SLICES, &gpu.slices, true) || !take_mig(line, &gpu) ||
        !take_readings(line, &gpu) || !is_whole(line, 2, 2))
        return false;
    *APPEND(into->gpus, into->gpu_count) = gpu;
    return true;
}

/* `2g.20gb` is two slices of both kinds; `1c.2g.20gb` one compute slice of a GPU instance of two. */
static bool take_profile(struct line *line, struct instance *instance)
{
    unsigned compute, gpu, gigabytes;
    int end = 0;
    if (!copy_text(line, "profile", instance->profile, sizeof instance->profile, false))
        return false;
    const char *text = instance->profile;
    if (sscanf(text, "%1uc.%1ug.%ugb%n", &compute, &gpu, &gigabytes, &end) != 3 || end == 0) {
        end = 0;
        if (sscanf(text, "%1ug.%ugb%n", &gpu, &gigabytes, &end) != 2 || end == 0)
            return object(line, "profile= must look like 2g.20gb or 1c.2g.20gb, not '%s'", text);
        compute = gpu;
    }
    if (compute == 0 || compute > gpu || (text[end] != '\0' && text[end] != '+'))
        return object(line, "profile=%s cannot be", text);
    instance->compute_slices = compute;
    instance->gpu_slices = gpu;
    return true;
}

/* Whether it fits beside the instances that its GPU has already. */
static bool fits(struct line *line, const struct description *known, const struct instance *added)
{
    uint64_t slices = added->gpu_slices;
    for (size_t i = 0; i < known->instance_count; i++) {
        const struct instance *other = &known->instances[i];
        if (other->gpu != added->gpu)
            continue;
        if (other->place == added->place)
            return object(line, "place=%d is taken on GPU %zu", (int)added->place, added->gpu);
        if (other->gi == added->gi && other->ci == added->ci)
            return object(line, "gi=%d ci=%d is taken on GPU %zu", (int)added->gi, (int)added->ci, added->gpu);
        bool counted = other->gi == added->gi;
        for (size_t j = 0; j < i; j++)
            counted |= known->instances[j].gpu == other->gpu && known->instances[j].gi == other->gi;
        slices += counted ? 0 : other->gpu_slices;
    }
    return slices <= known->gpus[added->gpu].slices || object(line, "GPU %zu has not so many slices", added->gpu);
}

static uint64_t next_place(const struct description *known, size_t gpu)
{
    uint64_t next = 0;
    for (size_t i = 0; i < known->instance_count; i++) {
        if (known->instances[i].gpu == gpu && known->instances[i].place >= next)
            next = known->instances[i].place + 1;
    }
    return next;
}

/* instance GPU-INDEX gi= uuid= profile= memory= [...] */
static bool read_instance(struct line *line, struct description *into)
{
    uint64_t gpu;
    struct instance instance = {0};
    if (line->word_count != 2 || !read_number(line, "the GPU's index", line->words[1], UINT32_MAX, &gpu))
        return object(line, "instance takes its GPU's index");
    if (gpu >= into->gpu_count || into->gpus[gpu].mig != MIG_ON)
        return object(line, "there is no GPU %s with mig=on before this line", line->words[1]);
    instance.gpu = gpu;
    instance.place = next_place(into, gpu);
    if (!take_uuid(line, into, "MIG-", instance.uuid) || !take_number(line, "gi", 255, &instance.gi, false) ||
        !take_number(line, "ci", 255, &instance.ci, true) || !take_profile(line, &instance) ||
        !take_number(line, "place", into->gpus[gpu].slices - 1, &instance.place, true) ||
        !take_number(line, "memory", INT64_MAX, &instance.memory, false) ||
        !take_number(line, "used", instance.memory, &instance.used, true) || !is_whole(line, 2, 2) ||
        !fits(line, into, &instance))
        return false;
    *APPEND(into->instances, into->instance_count) = instance;
    return true;
}

/* process PID unit=UUID [memory=BYTES] [graphics=on] */
static bool read_process(struct line *line, struct description *into)
{
    struct process process = {.memory = NVML_NOT_AVAILABLE};
    const char *graphics = take_text(line, "graphics");
    if (line->word_count != 2 || !read_number(line, "the pid", line->words[1], INT32_MAX, &process.pid))
        return object(line, "process takes a pid");
    if (!copy_text(line, "unit", process.unit, sizeof process.unit, false) ||
        !take_number(line, "memory", INT64_MAX, &process.memory, true) || !is_whole(line, 2, 2))
        return false;
    if (graphics != NULL && strcmp(graphics, "on") != 0)
        return object(line, "graphics= can only be on");
    process.graphics = graphics != NULL;
    const struct gpu *gpu = find_gpu(into, process.unit);
    if (gpu == NULL && find_instance(into, process.unit) == NULL)
        return object(line, "unit=%s is not described before this line", process.unit);
    if (gpu != NULL && gpu->mig == MIG_ON)
        return object(line, "unit=%s is in MIG mode, where processes run on its instances alone", process.unit);
    *APPEND(into->processes, into->process_count) = process;
    return true;
}

static bool read_function(struct line *line, const char *name, struct rule *rule)
{
    if (strlen(name) >= sizeof rule->function || !is_function(name))
        return object(line, "the library has no function '%s'", name);
    memcpy(rule->function, name, strlen(name) + 1);
    return true;
}

static bool read_device(struct line *line, const struct description *known, const char *name, struct rule *rule)
{
    uint64_t index;
    rule->on_device = true;
    if (find_gpu(known, name) != NULL || find_instance(known, name) != NULL) {
        memcpy(rule->uuid, name, strlen(name) + 1);
        return true;
    }
    if (!read_number(line, "the GPU", name, UINT32_MAX, &index) || index >= known->gpu_count)
        return object(line, "GPU '%s' is not described before this line", name);
    rule->gpu = index;
    return true;
}

/* fail FUNCTION [GPU-INDEX|UUID] ERROR, delay FUNCTION [GPU-INDEX|UUID] MILLISECONDS */
static bool read_rule(struct line *line, struct description *into)
{
    struct rule rule = {.error = NVML_SUCCESS};
    if (!is_whole(line, 3, 4) || !read_function(line, line->words[1], &rule) ||
        (line->word_count == 4 && !read_device(line, into, line->words[2], &rule)))
        return false;
    const char *last = line->words[line->word_count - 1];
    if (strcmp(line->words[0], "delay") == 0) {
        if (!read_number(line, "the delay", last, 600000, &rule.milliseconds))
            return false;
    } else if (!find_error(last, &rule.error)) {
        return object(line, "NVML has no error '%s'", last);
    }
    *APPEND(into->rules, into->rule_count) = rule;
    return true;
}

/* system [driver=] [nvml=] [cuda=] */
static bool read_system(struct line *line, struct description *into)
{
    return copy_text(line, "driver", into->driver, sizeof into->driver, true) &&
           copy_text(line, "nvml", into->nvml, sizeof into->nvml, true) &&
           take_number(line, "cuda", INT32_MAX, &into->cuda, true) && is_whole(line, 1, 1);
}

static bool read_line(struct line *line, struct description *into)
{
    static const struct {
        const char *word;
        bool (*read)(struct line *, struct description *);
    } KINDS[] = {{"system", read_system},   {"gpu", read_gpu},    {"instance", read_instance},
                 {"process", read_process}, {"fail", read_rule}, {"delay", read_rule}};
    if (line->problem[0] != '\0')
        return false;
    if (line->word_count == 0)
        return line->setting_count == 0 || object(line, "the line begins with a setting");
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (strcmp(line->words[0], KINDS[i].word) == 0)
            return KINDS[i].read(line, into);
    }
    return object(line, "no line begins with '%s'", line->words[0]);
}

bool read_description(FILE *file, const char *path, struct description *into)
{
    char *text = NULL;
    size_t room = 0;
    struct line line;
    bool well = true;
    *into = (struct description){.driver = "580.95.05", .nvml = "13.580.95.05", .cuda = 13000};
    for (unsigned number = 1; well && getline(&text, &room, file) >= 0; number++) {
        split_line(text, &line);
        well = read_line(&line, into);
        if (!well)
            fprintf(stderr, "fake_nvml: %s:%u: %s\n", path, number, line.problem);
    }
    if (well && ferror(file)) {
        fprintf(stderr, "fake_nvml: %s cannot be read\n", path);
        well = false;
    }
    free(text);
    if (!well)
        free_description(into);
    return well;
}

void free_description(struct description *description)
{
    free(description->gpus);
    free(description->instances);
    free(description->processes);
    free(description->rules);
    *description = (struct description){0};
}
