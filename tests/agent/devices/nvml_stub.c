/* A stand-in for the driver's libnvidia-ml.so.1, for tests: N devices from the environment.
 *
 * NVML_STUB_COUNT   how many; NVML_STUB_BROKEN  index of one whose handle cannot be had; NVML_STUB_MIG index of one in
 * MIG mode, with two instances; NVML_STUB_INIT  what nvmlInit answers (9 = driver not loaded); NVML_STUB_CAPABILITY
 * compute capability of the last one (70 = 7.0); NVML_STUB_PROCESSES  a file of lines "index pid bytes";
 * NVML_STUB_LIMITS  a folder in which memory limits are kept, without which there are none; NVML_STUB_FORGETFUL  limits
 * are taken and not kept; NVML_STUB_UUID  of the first one; NVML_STUB_LOADS  a file of lines "index pid time percent",
 * without which processes' loads are not told. Only the calls that the agent makes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, FUNCTION_NOT_FOUND = 13, GPU_IS_LOST = 15 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} pci_t;

static int number(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

/* Devices are 1, 2, ...; MIG instances of the first 101, 102. */
static int index_of(void *handle) { return (int)(long)handle - 1; }
static int is_instance(void *handle) { return index_of(handle) >= 100; }

static int copy(char *out, unsigned int size, const char *text) {
    if (strlen(text) + 1 > size) return INSUFFICIENT_SIZE;
    strcpy(out, text);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned int flags) { (void)flags; return number("NVML_STUB_INIT", SUCCESS); }
int nvmlInit_v2(void) { return number("NVML_STUB_INIT", SUCCESS); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "stub error"; }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = number("NVML_STUB_COUNT", 2);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) {
    if ((int)index == number("NVML_STUB_BROKEN", -1)) return GPU_IS_LOST;
    *handle = (void *)(long)(index + 1);
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *handle, char *out, unsigned int size) {
    char text[64];
    if (is_instance(handle)) snprintf(text, sizeof text, "MIG-stub-%d", index_of(handle) - 100);
    else snprintf(text, sizeof text, "GPU-stub-%d", index_of(handle));
    if (index_of(handle) == 0 && getenv("NVML_STUB_UUID")) return copy(out, size, getenv("NVML_STUB_UUID"));
    return copy(out, size, text);
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    const char *first = getenv("NVML_STUB_UUID");
    if (first && !strcmp(uuid, first)) {
        *handle = (void *)1L;
        return SUCCESS;
    }
    if (strncmp(uuid, "GPU-stub-", 9)) return NOT_FOUND;
    *handle = (void *)(long)(atoi(uuid + 9) + 1);
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *out, unsigned int size) {
    return copy(out, size, is_instance(handle) ? "Stub H200 MIG 1g.18gb" : "Stub H200");
}

int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12080; return SUCCESS; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12080; return SUCCESS; }
int nvmlSystemGetDriverVersion(char *out, unsigned int size) { return copy(out, size, "570.86.15"); }
int nvmlDeviceGetNumGpuCores(void *handle, unsigned int *cores) { (void)handle; *cores = 16896; return SUCCESS; }

int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    int is_last = index_of(handle) == number("NVML_STUB_COUNT", 2) - 1;
    int capability = is_last ? number("NVML_STUB_CAPABILITY", 90) : 90;
    *major = capability / 10, *minor = capability % 10;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned int *count) {
    *count = index_of(handle) == number("NVML_STUB_MIG", -1) ? 7 : 0;
    return SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(void *gpu, unsigned int index, void **handle) {
    (void)gpu;
    if (index != 0 && index != 3) return NOT_FOUND; /* places may be empty */
    *handle = (void *)(long)(101 + index);
    return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(void *handle, unsigned int *id) { *id = 7 + index_of(handle) - 100; return SUCCESS; }
int nvmlDeviceGetComputeInstanceId(void *handle, unsigned int *id) { (void)handle; *id = 0; return SUCCESS; }

typedef struct { unsigned int pid; unsigned long long used; unsigned int gpu_instance, compute_instance; } process_t;

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *count, process_t *out) {
    const char *path = getenv("NVML_STUB_PROCESSES");
    FILE *file = path ? fopen(path, "r") : NULL;
    unsigned int room = *count, found = 0, index, pid;
    unsigned long long used;
    while (file && fscanf(file, "%u %u %llu", &index, &pid, &used) == 3)
        if ((int)index == index_of(handle) && found++ < room && out) out[found - 1] = (process_t){pid, used, ~0u, ~0u};
    if (file) fclose(file);
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned int *count, process_t *out) {
    (void)handle, (void)out;
    *count = 0;
    return SUCCESS;
}

typedef struct { unsigned int pid; unsigned long long time; unsigned int sm, memory, encoder, decoder; } load_t;

/* Also those that are not newer, as some drivers do; if none is, there is nothing to be found. */
int nvmlDeviceGetProcessUtilization(void *handle, load_t *out, unsigned int *count, unsigned long long since) {
    const char *path = getenv("NVML_STUB_LOADS");
    FILE *file = path ? fopen(path, "r") : NULL;
    unsigned int room = *count, found = 0, newer = 0, index, pid, percent;
    unsigned long long time;
    if (!path) return NOT_SUPPORTED;
    while (file && fscanf(file, "%u %u %llu %u", &index, &pid, &time, &percent) == 4)
        if ((int)index == index_of(handle)) {
            newer += time > since;
            if (found++ < room && out) out[found - 1] = (load_t){pid, time, percent, 0, 0, 0};
        }
    if (file) fclose(file);
    *count = found;
    if (!newer) return NOT_FOUND;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}

typedef struct { const char *cgroup; unsigned long long soft, hard, used; } limits_t;

/* One file for each device; a line for each time that limits were set: "cgroup soft hard". */
static int limits_file(void *handle, const char *how, FILE **file) {
    char path[512];
    const char *folder = getenv("NVML_STUB_LIMITS");
    if (!folder) return FUNCTION_NOT_FOUND;
    snprintf(path, sizeof path, "%s/%d", folder, index_of(handle));
    *file = fopen(path, how);
    return *file ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceSetMemoryLimits_v1(void *handle, const limits_t *limits) {
    FILE *file;
    int result = limits_file(handle, "a", &file);
    if (result) return result;
    fprintf(file, "%s %llu %llu\n", limits->cgroup, limits->soft, limits->hard);
    fclose(file);
    return SUCCESS;
}

int nvmlDeviceGetMemoryLimits_v1(void *handle, limits_t *limits) {
    FILE *file;
    char cgroup[512];
    unsigned long long soft, hard;
    int result = limits_file(handle, "r", &file);
    if (result) return result;
    while (!getenv("NVML_STUB_FORGETFUL") && fscanf(file, "%511s %llu %llu", cgroup, &soft, &hard) == 3)
        if (!strcmp(cgroup, limits->cgroup)) limits->soft = soft, limits->hard = hard;
    fclose(file);
    return SUCCESS;
}

/* Not the list position, so that a mix-up shows. */
int nvmlDeviceGetMinorNumber(void *handle, unsigned int *minor) { *minor = 7 - index_of(handle); return SUCCESS; }

int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    unsigned long long total = is_instance(handle) ? 16ULL << 30 : 141ULL << 30, used = is_instance(handle) ? 3ULL << 30 : 0;
    *memory = (memory_t){total, total - used, used};
    return SUCCESS;
}

typedef struct { unsigned int gpu, memory; } rates_t;

/* The load of a GPU in MIG mode and of instances is not told; asked of an instance, power is the whole GPU's. */
int nvmlDeviceGetUtilizationRates(void *handle, rates_t *rates) {
    if (is_instance(handle) || index_of(handle) == number("NVML_STUB_MIG", -1)) return NOT_SUPPORTED;
    *rates = (rates_t){37, 2};
    return SUCCESS;
}
int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts) { (void)handle; *milliwatts = 250500; return SUCCESS; }

typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_v2_t;

/* A neighbour holds 100 GiB of it. */
int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2_t *memory) {
    (void)handle;
    memory->total = 141ULL << 30, memory->reserved = 1ULL << 30, memory->used = 100ULL << 30;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(void *handle, pci_t *pci) {
    memset(pci, 0, sizeof *pci);
    snprintf(pci->busId, sizeof pci->busId, "0000FFFF:%02X:00.0", index_of(handle));
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending) {
    if (number("NVML_STUB_MIG", -1) < 0) return NOT_SUPPORTED;
    *current = *pending = index_of(handle) == number("NVML_STUB_MIG", -1);
    return SUCCESS;
}
