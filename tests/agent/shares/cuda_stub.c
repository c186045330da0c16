/* A stand-in for the driver's libcuda.so.1, for tests: two devices of 16 GiB that give addresses and no memory.
 *
 * It refuses nothing (only cuMemAlloc_v2 of 13 bytes fails by itself), so every refusal is that of who stands before it.
 */
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define STUB_TOTAL (16ull << 30)

typedef unsigned long long u64;

static __thread void *context;
static __thread int device;
static u64 next = 0x700000000000ull, next_handle = 1;
static char contexts[2];

int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGetUuid_v2(unsigned char *uuid, int at) { memset(uuid, 0x10 + at, 16); return 0; }
int cuDeviceTotalMem_v2(size_t *out, int at) { (void)at; *out = STUB_TOTAL; return 0; }
int cuDevicePrimaryCtxRetain(void **out, int at) { *out = &contexts[at]; return 0; }
int cuDevicePrimaryCtxReset_v2(int at) { (void)at; return 0; }
int cuCtxSetCurrent(void *to) { context = to; device = to == &contexts[1]; return 0; }
int cuCtxGetCurrent(void **out) { *out = context; return 0; }
int cuCtxGetDevice(int *out) { *out = device; return context ? 0 : 201; }
int cuCtxDestroy_v2(void *which) { (void)which; return 0; }

static u64 last_freed; /* given again at once, as a driver does */

static int give(u64 *out, u64 size) {
    if (!context) return 201; /* invalid context */
    if (size == 13) return 2;
    *out = __atomic_exchange_n(&last_freed, 0, __ATOMIC_SEQ_CST);
    if (!*out) *out = __atomic_fetch_add(&next, size + 512, __ATOMIC_SEQ_CST);
    return 0;
}

int cuMemAlloc_v2(u64 *out, size_t size) { return give(out, size); }
int cuMemFree_v2(u64 at) {
    if (!at) return 1;
    __atomic_store_n(&last_freed, at, __ATOMIC_SEQ_CST);
    sched_yield(); /* whoever gets it may be faster than we return */
    return 0;
}
int cuMemAllocManaged(u64 *out, size_t size, unsigned flags) { (void)flags; return give(out, size); }
int cuMemAllocPitch_v2(u64 *out, size_t *pitch, size_t width, size_t height, unsigned element) {
    (void)element;
    *pitch = (width + 511) / 512 * 512;
    return give(out, *pitch * height);
}
int cuMemAllocAsync(u64 *out, size_t size, void *stream) { (void)stream; return give(out, size); }
int cuMemAllocAsync_ptsz(u64 *out, size_t size, void *stream) { (void)stream; return give(out, size); }
int cuMemAllocFromPoolAsync(u64 *out, size_t size, void *pool, void *stream) { (void)pool, (void)stream; return give(out, size); }
int cuMemFreeAsync(u64 at, void *stream) { (void)stream; return at ? 0 : 1; }
int cuMemFreeAsync_ptsz(u64 at, void *stream) { (void)stream; return at ? 0 : 1; }
int cuArray3DCreate_v2(void **out, const size_t *sizes) { return give((u64 *)out, sizes[0]); }
int cuArrayDestroy(void *array) { return array ? 0 : 1; }
int cuMemCreate(u64 *out, size_t size, const void *prop, u64 flags) {
    (void)size, (void)prop, (void)flags;
    *out = __atomic_fetch_add(&next_handle, 1, __ATOMIC_SEQ_CST);
    return 0;
}
int cuMemRelease(u64 handle) { return handle ? 0 : 1; }
int cuMemMap(u64 at, size_t size, size_t offset, u64 handle, u64 flags) {
    (void)at, (void)size, (void)offset, (void)flags;
    return handle ? 0 : 1;
}
int cuMemUnmap(u64 at, size_t size) { (void)size; return at ? 0 : 1; }
int cuMemGetInfo_v2(size_t *free, size_t *total) { *free = *total = STUB_TOTAL; return context ? 0 : 201; }

int cuGetProcAddress(const char *, void **, int, uint64_t);
int cuGetProcAddress_v2(const char *, void **, int, uint64_t, int *);

/* As the driver: plain names, and the variant that version and flags mean. */
int cuGetProcAddress(const char *name, void **out, int version, uint64_t flags) {
    static const struct { const char *name; void *function, *per_thread; } known[] = {
        {"cuMemAlloc", (void *)cuMemAlloc_v2, NULL}, {"cuMemFree", (void *)cuMemFree_v2, NULL},
        {"cuMemAllocAsync", (void *)cuMemAllocAsync, (void *)cuMemAllocAsync_ptsz},
        {"cuMemFreeAsync", (void *)cuMemFreeAsync, (void *)cuMemFreeAsync_ptsz},
        {"cuMemAllocManaged", (void *)cuMemAllocManaged, NULL}, {"cuMemGetInfo", (void *)cuMemGetInfo_v2, NULL},
        {"cuDeviceTotalMem", (void *)cuDeviceTotalMem_v2, NULL}, {"cuMemCreate", (void *)cuMemCreate, NULL},
        {"cuInit", (void *)cuInit, NULL},
    };
    if (!strcmp(name, "cuGetProcAddress")) {
        *out = version >= 12000 ? (void *)cuGetProcAddress_v2 : (void *)cuGetProcAddress;
        return 0;
    }
    for (unsigned i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(name, known[i].name)) {
            *out = flags & 2 && known[i].per_thread ? known[i].per_thread : known[i].function;
            return 0;
        }
    *out = NULL;
    return 500;
}

int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
    if (status) *status = 0;
    return cuGetProcAddress(name, out, version, flags);
}
