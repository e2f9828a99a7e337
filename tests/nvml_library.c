/* A libnvidia-ml.so.1 that says what no driver should, from the text file `state` beside it, read anew at every call.
 *
 * Lines, fields parted by tabs:
 *   gpu UUID NAME MEMORY_BYTES USED_BYTES UTILISATION MIG PENDING LARGEST_SLICES
 *   mig GPU PLACE GI CI UUID NAME GI_SLICES CI_SLICES MEMORY_MB USED_BYTES
 *   process UUID_OF_UNIT PID BYTES           (BYTES -1: not available)
 *   mps UUID_OF_UNIT PID BYTES
 *   fail FUNCTION CODE GPU FIRST LAST        (GPU -1: all; calls of it FIRST to LAST, from 1; LAST 0: for ever)
 *   restless GPU CALLS                       (its second instance is there at every other look, so often)
 * Init and shutdown are noted in the file `calls`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, MOST = 128, GPUS = 1, MIGS = 1000 };
typedef unsigned int u32;
typedef unsigned long long u64;
typedef void *handle;

struct gpu { char uuid[128], name[128]; u64 memory, used; int utilisation, mig, pending, slices; };
struct mig { int gpu, place, gi, ci, slices, compute; char uuid[128], name[128]; u64 memory_mb, used; };
struct process { char uuid[128]; int mps; u32 pid; long long memory; };
struct failure { char function[96]; int code, gpu, first, last; };

static struct gpu gpus[MOST];
static struct mig migs[MOST];
static struct process processes[MOST];
static struct failure failures[MOST];
static int n_gpus, n_migs, n_processes, n_failures, restless_gpu, restless_calls;
static struct { char function[96]; int gpu, calls; } counted[4 * MOST];

static void path_of(const char *name, char *out, size_t size)
{
    Dl_info info;
    char own[4096];
    dladdr((void *)path_of, &info);
    snprintf(own, sizeof own, "%s", info.dli_fname);
    snprintf(out, size, "%s/%s", dirname(own), name);
}

static void note(const char *text)
{
    char path[4200];
    path_of("calls", path, sizeof path);
    FILE *out = fopen(path, "a");
    if (out) {
        fprintf(out, "%s\n", text);
        fclose(out);
    }
}

static void load(void)
{
    char path[4200], line[1024];
    n_gpus = n_migs = n_processes = n_failures = restless_calls = 0;
    path_of("state", path, sizeof path);
    FILE *in = fopen(path, "r");
    while (in && fgets(line, sizeof line, in)) {
        struct gpu *g = &gpus[n_gpus];
        struct mig *m = &migs[n_migs];
        struct process *p = &processes[n_processes];
        struct failure *f = &failures[n_failures];
        if (sscanf(line, "gpu\t%127[^\t]\t%127[^\t]\t%llu\t%llu\t%d\t%d\t%d\t%d", g->uuid, g->name, &g->memory, &g->used,
                   &g->utilisation, &g->mig, &g->pending, &g->slices) == 8)
            n_gpus++;
        else if (sscanf(line, "mig\t%d\t%d\t%d\t%d\t%127[^\t]\t%127[^\t]\t%d\t%d\t%llu\t%llu", &m->gpu, &m->place, &m->gi,
                        &m->ci, m->uuid, m->name, &m->slices, &m->compute, &m->memory_mb, &m->used) == 10)
            n_migs++;
        else if (sscanf(line, "process\t%127[^\t]\t%u\t%lld", p->uuid, &p->pid, &p->memory) == 3)
            p->mps = 0, n_processes++;
        else if (sscanf(line, "mps\t%127[^\t]\t%u\t%lld", p->uuid, &p->pid, &p->memory) == 3)
            p->mps = 1, n_processes++;
        else if (sscanf(line, "fail\t%95[^\t]\t%d\t%d\t%d\t%d", f->function, &f->code, &f->gpu, &f->first, &f->last) == 5)
            n_failures++;
        else if (sscanf(line, "restless\t%d\t%d", &restless_gpu, &restless_calls) != 2) {
            fprintf(stderr, "nvml_library: a line of %s is not understood: %s", path, line);
            abort();
        }
    }
    if (in)
        fclose(in);
}

static struct gpu *gpu_of(handle h)
{
    size_t number = (size_t)h;
    return number >= GPUS && number < GPUS + (size_t)n_gpus ? &gpus[number - GPUS] : NULL;
}

static struct mig *mig_of(handle h)
{
    size_t number = (size_t)h;
    return number >= MIGS && number < MIGS + (size_t)n_migs ? &migs[number - MIGS] : NULL;
}

static int index_of(handle h)
{
    return gpu_of(h) ? (int)(gpu_of(h) - gpus) : mig_of(h) ? mig_of(h)->gpu : -1;
}

static int times(const char *function, int gpu)
{
    for (int i = 0; i < 4 * MOST; i++)
        if (!counted[i].calls || (counted[i].gpu == gpu && !strcmp(counted[i].function, function))) {
            snprintf(counted[i].function, sizeof counted[i].function, "%s", function);
            counted[i].gpu = gpu;
            return ++counted[i].calls;
        }
    abort();
}

/* Read the state, count the call, and say whether it is to fail. */
static int fails(const char *function, int gpu)
{
    load();
    int call = times(function, gpu);
    for (int i = 0; i < n_failures; i++) {
        struct failure *f = &failures[i];
        if (!strcmp(f->function, function) && (f->gpu < 0 || f->gpu == gpu) && call >= f->first &&
            (!f->last || call <= f->last))
            return f->code;
    }
    return OK;
}

#define START(gpu)                                                                                                     \
    do {                                                                                                               \
        load();                                                                                                        \
        int code = fails(__func__, gpu);                                                                               \
        if (code)                                                                                                      \
            return code;                                                                                               \
    } while (0)

int nvmlInitWithFlags(u32 flags)
{
    (void)flags;
    START(-1);
    note("init");
    return OK;
}

int nvmlShutdown(void)
{
    note("shutdown");
    return OK;
}

const char *nvmlErrorString(int code)
{
    (void)code;
    return "an error";
}

int nvmlDeviceGetCount_v2(u32 *count)
{
    START(-1);
    *count = n_gpus;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(u32 index, handle *out)
{
    START((int)index);
    if (index >= (u32)n_gpus)
        return INVALID;
    *out = (handle)(size_t)(GPUS + index);
    return OK;
}

static int text(const char *from, char *out, u32 size)
{
    if (strlen(from) + 1 > size)
        return TOO_SMALL;
    /* So that a test can give bytes that are no text. */
    for (size_t i = 0; i <= strlen(from); i++)
        out[i] = from[i] == '~' ? (char)0xff : from[i];
    return OK;
}

int nvmlDeviceGetUUID(handle h, char *out, u32 size)
{
    START(index_of(h));
    return gpu_of(h) ? text(gpu_of(h)->uuid, out, size) : mig_of(h) ? text(mig_of(h)->uuid, out, size) : INVALID;
}

int nvmlDeviceGetName(handle h, char *out, u32 size)
{
    START(index_of(h));
    return gpu_of(h) ? text(gpu_of(h)->name, out, size) : mig_of(h) ? text(mig_of(h)->name, out, size) : INVALID;
}

int nvmlDeviceGetMemoryInfo(handle h, u64 out[3])
{
    START(index_of(h));
    u64 reserved = 1 << 20, total = gpu_of(h) ? gpu_of(h)->memory : mig_of(h) ? mig_of(h)->memory_mb << 20 : 0;
    u64 used = gpu_of(h) ? gpu_of(h)->used : mig_of(h) ? mig_of(h)->used : 0;
    out[0] = total, out[1] = total - used - reserved, out[2] = used + reserved;
    return total ? OK : INVALID;
}

struct memory_v2 { u32 version; u64 total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo_v2(handle h, struct memory_v2 *out)
{
    START(index_of(h));
    out->total = gpu_of(h) ? gpu_of(h)->memory : mig_of(h) ? mig_of(h)->memory_mb << 20 : 0;
    out->used = gpu_of(h) ? gpu_of(h)->used : mig_of(h) ? mig_of(h)->used : 0;
    return out->total ? OK : INVALID;
}

int nvmlDeviceGetUtilizationRates(handle h, u32 out[2])
{
    START(index_of(h));
    if (!gpu_of(h) || gpu_of(h)->mig)
        return UNSUPPORTED;
    out[0] = gpu_of(h)->utilisation, out[1] = 0;
    return OK;
}

int nvmlDeviceGetMigMode(handle h, u32 *current, u32 *pending)
{
    START(index_of(h));
    if (!gpu_of(h) || gpu_of(h)->mig < 0)
        return UNSUPPORTED;
    *current = gpu_of(h)->mig, *pending = gpu_of(h)->pending;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(handle h, u32 *count)
{
    START(index_of(h));
    *count = 7;
    return OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(handle h, u32 place, handle *out)
{
    int gpu = index_of(h);
    START(gpu);
    int look = (times("look", gpu) - 1) / 7;
    if (place == 1 && restless_calls && gpu == restless_gpu && look < restless_calls && look % 2)
        return NOT_FOUND;
    for (int i = 0; i < n_migs; i++)
        if (migs[i].gpu == gpu && migs[i].place == (int)place) {
            *out = (handle)(size_t)(MIGS + i);
            return OK;
        }
    return NOT_FOUND;
}

struct attributes { u32 counts[6], slices, compute; u64 memory_mb; };

int nvmlDeviceGetAttributes_v2(handle h, struct attributes *out)
{
    START(index_of(h));
    if (!mig_of(h))
        return INVALID;
    out->slices = mig_of(h)->slices, out->compute = mig_of(h)->compute, out->memory_mb = mig_of(h)->memory_mb;
    return OK;
}

int nvmlDeviceGetGpuInstanceId(handle h, u32 *out)
{
    START(index_of(h));
    *out = mig_of(h) ? mig_of(h)->gi : 0;
    return mig_of(h) ? OK : INVALID;
}

int nvmlDeviceGetComputeInstanceId(handle h, u32 *out)
{
    START(index_of(h));
    *out = mig_of(h) ? mig_of(h)->ci : 0;
    return mig_of(h) ? OK : INVALID;
}

struct profile { u32 id, p2p, slices, counts[7]; u64 memory_mb; };
struct profile_v2 { u32 version; struct { u32 id, p2p, slices, counts[7]; } has; u64 memory_mb; char name[96]; };

int nvmlDeviceGetGpuInstanceProfileInfoV(handle h, u32 profile, struct profile_v2 *out)
{
    START(index_of(h));
    if (!gpu_of(h) || profile > 4 || !gpu_of(h)->slices)
        return UNSUPPORTED;
    out->has.slices = profile == 4 ? gpu_of(h)->slices : 1;
    return OK;
}

int nvmlDeviceGetGpuInstanceProfileInfo(handle h, u32 profile, struct profile *out)
{
    START(index_of(h));
    if (!gpu_of(h) || profile > 4 || !gpu_of(h)->slices)
        return UNSUPPORTED;
    out->slices = profile == 4 ? gpu_of(h)->slices : 1;
    return OK;
}

struct info { u32 pid; u64 memory; u32 gi, ci; };

static int list(handle h, int mps, u32 *count, struct info *out)
{
    const char *uuid = gpu_of(h) ? gpu_of(h)->uuid : mig_of(h) ? mig_of(h)->uuid : "";
    u32 room = *count, found = 0;
    for (int i = 0; i < n_processes; i++)
        if (processes[i].mps == mps && !strcmp(processes[i].uuid, uuid)) {
            if (out && found < room)
                out[found] = (struct info){processes[i].pid, (u64)processes[i].memory, 0xffffffff, 0xffffffff};
            found++;
        }
    *count = found;
    return found > room ? TOO_SMALL : OK;
}

#define LIST(name, mps)                                                                                                \
    int name(handle h, u32 *count, struct info *out)                                                                   \
    {                                                                                                                  \
        START(index_of(h));                                                                                            \
        return list(h, mps, count, out);                                                                               \
    }
LIST(nvmlDeviceGetComputeRunningProcesses_v3, 0)
LIST(nvmlDeviceGetComputeRunningProcesses_v2, 0)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, 1)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, 1)
