/* A stand-in for the driver's libnvidia-ml.so.1, for tests: N devices from the environment.
 *
 * NVML_STUB_COUNT   how many; NVML_STUB_BROKEN  index of one whose handle cannot be had; NVML_STUB_MIG index of one in
 * MIG mode; NVML_STUB_INIT  what nvmlInit answers (9 = driver not loaded). Only the calls that the agent makes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };

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

static int index_of(void *handle) { return (int)(long)handle - 1; }

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
    snprintf(text, sizeof text, "GPU-stub-%d", index_of(handle));
    return copy(out, size, text);
}

int nvmlDeviceGetName(void *handle, char *out, unsigned int size) { (void)handle; return copy(out, size, "Stub H200"); }

/* Not the list position, so that a mix-up shows. */
int nvmlDeviceGetMinorNumber(void *handle, unsigned int *minor) { *minor = 7 - index_of(handle); return SUCCESS; }

int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    (void)handle;
    memory->total = 141ULL << 30, memory->used = 0, memory->free = memory->total;
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
