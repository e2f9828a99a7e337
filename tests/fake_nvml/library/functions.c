/* Asks the dynamic linker which functions the library has, so that no list of them can be out of date. */
#define _GNU_SOURCE
#include "functions.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static bool is_exported(void *library, const char *name)
{
    void *found = dlsym(library, name);
    Dl_info where, ours;
    /* dlsym looks into what the library itself needs, too: malloc is no function of NVML. */
    return found != NULL && dladdr(found, &where) && dladdr((void *)is_function, &ours) &&
           where.dli_fbase == ours.dli_fbase;
}

bool is_function(const char *name)
{
    Dl_info ours;
    bool found = strcmp(name, "*") == 0;
    if (found || !dladdr((void *)is_function, &ours))
        return found;
    void *library = dlopen(ours.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (library == NULL)
        return false;
    found = is_exported(library, name);
    for (int version = 2; version <= 3 && !found; version++) {
        char versioned[80];
        snprintf(versioned, sizeof versioned, "%s_v%d", name, version);
        found = is_exported(library, versioned);
    }
    dlclose(library);
    return found;
}

bool names_function(const char *name, const char *function)
{
    size_t length = strlen(name);
    if (strcmp(name, "*") == 0)
        return strcmp(function, "nvmlShutdown") != 0; /* or a caller could never clean up behind itself */
    if (strcmp(name, "nvmlInit") == 0)
        return strncmp(function, name, length) == 0; /* callers have three ways to begin; NVML does the same in all */
    return strncmp(function, name, length) == 0 && (function[length] == '\0' || strncmp(function + length, "_v", 2) == 0);
}
