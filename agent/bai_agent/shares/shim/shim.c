/* Caps the GPU memory that all processes of one container hold together, by standing before the CUDA driver's library.
 *
 * Loaded into every process of the container by /etc/ld.so.preload. FOLDER is compiled in, never taken from the
 * environment, and holds:
 *   limits   lines "UUID TOTAL RESERVED" in bytes, one per GPU; read only. What it does not name gets nothing.
 *   usage    one row per process that has allocated (struct usage below); all processes write it, under flock.
 *
 * A program sees TOTAL as the size of its GPU, and may allocate TOTAL - RESERVED (RESERVED is for contexts, which the
 * driver takes without asking us). It is reached however it looks functions up: linked, dlsym, cuGetProcAddress.
 * The management library (NVML), which nvidia-smi asks, is made to tell the same.
 * It does not stop who makes system calls of its own or carries another loader: the agent's watchdog does.
 *
 * Uses nothing newer than glibc 2.17, so that it loads in images older than the host: no fstat, no strto*, no scanf.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef FOLDER
#define FOLDER "/opt/bai/gpu"
#endif

#if defined(__x86_64__)
#define OLDEST "GLIBC_2.2.5"
__asm__(".symver dlvsym,dlvsym@GLIBC_2.2.5");
__asm__(".symver dlopen,dlopen@GLIBC_2.2.5");
#elif defined(__aarch64__)
#define OLDEST "GLIBC_2.17"
__asm__(".symver dlvsym,dlvsym@GLIBC_2.17");
__asm__(".symver dlopen,dlopen@GLIBC_2.17");
#else
#error "the version of dlsym on this machine is not known"
#endif

#define PUBLIC __attribute__((visibility("default")))
#define MAX_GPUS 16
#define ROWS 1024
#define BUCKETS 65536

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long handle_t;
typedef void *CUcontext, *CUstream, *CUmemoryPool, *CUarray;
typedef struct { unsigned char bytes[16]; } CUuuid;
typedef struct { size_t Width, Height; int Format; unsigned NumChannels; } array_t;
typedef struct { size_t Width, Height, Depth; int Format; unsigned NumChannels, Flags; } array3d_t;
typedef struct { int type, handles; struct { int type, id; } location; } memprop_t; /* its beginning */

enum { OK = 0, OUT_OF_MEMORY = 2, NOT_FOUND = 500, NOT_SUPPORTED = 801 };
enum { ON_DEVICE = 1, PER_THREAD = 2 };
enum { NVML_NOT_FOUND = 13 };

/* The driver */

typedef void *(*dlsym_t)(void *, const char *);
static dlsym_t real_dlsym;

static CUresult absent(void) { return NOT_FOUND; }

__attribute__((constructor)) static void find_dlsym(void) {
    if (!real_dlsym) real_dlsym = (dlsym_t)dlvsym(RTLD_NEXT, "dlsym", OLDEST);
}

static CUresult absent_from_nvml(void) { return NVML_NOT_FOUND; }

static void *real(const char *name) {
    static void *cuda, *nvml;
    int is_nvml = name[0] == 'n';
    void **library = is_nvml ? &nvml : &cuda;
    find_dlsym();
    if (!*library) *library = dlopen(is_nvml ? "libnvidia-ml.so.1" : "libcuda.so.1", RTLD_LAZY | RTLD_GLOBAL);
    void *found = *library ? real_dlsym(*library, name) : NULL;
    return found ? found : is_nvml ? (void *)absent_from_nvml : (void *)absent;
}

#define REAL(name, ...) ({ \
    static void *at; \
    if (!at) at = real(#name); \
    (CUresult (*)(__VA_ARGS__))at; \
})

/* Limits */

static struct { char uuid[48]; uint64_t total, reserved; } gpus[MAX_GPUS];
static int gpu_count;

static const char *number(const char *at, uint64_t *out) {
    while (*at == ' ') at++;
    for (*out = 0; *at >= '0' && *at <= '9'; at++) *out = *out * 10 + (uint64_t)(*at - '0');
    return at;
}

static void read_limits(void) {
    static char text[MAX_GPUS * 128];
    int file = open(FOLDER "/limits", O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    text[size > 0 ? size : 0] = 0;
    gpu_count = 0;
    for (const char *at = text; *at && gpu_count < MAX_GPUS;) {
        size_t length = strcspn(at, " \n");
        if (length && length < sizeof gpus[0].uuid && at[length] == ' ') {
            memcpy(gpus[gpu_count].uuid, at, length);
            gpus[gpu_count].uuid[length] = 0;
            number(number(at + length, &gpus[gpu_count].total), &gpus[gpu_count].reserved);
            gpu_count++;
        }
        at += strcspn(at, "\n");
        at += *at == '\n';
    }
}

static void as_text(const CUuuid *uuid, char *out) {
    static const char digits[] = "0123456789abcdef";
    memcpy(out, "GPU-", 4);
    out += 4;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
        *out++ = digits[uuid->bytes[i] >> 4];
        *out++ = digits[uuid->bytes[i] & 15];
    }
    *out = 0;
}

static int line_of(const char *uuid) {
    for (int i = 0; i < gpu_count; i++)
        if (!strcmp(gpus[i].uuid, uuid)) return i;
    return -1;
}

/* Which line of ``limits`` a device of the driver is; -1 if none. */
static int gpu_of(CUdevice device) {
    static signed char known[64]; /* 0: not looked up yet, else the line + 1, -1 for none */
    if (device < 0 || device >= 64) return -1;
    if (!known[device]) {
        CUuuid uuid;
        char text[48];
        CUresult got = REAL(cuDeviceGetUuid_v2, CUuuid *, CUdevice)(&uuid, device);
        if (got != OK) got = REAL(cuDeviceGetUuid, CUuuid *, CUdevice)(&uuid, device);
        if (got != OK) return -1;
        as_text(&uuid, text);
        int line = line_of(text);
        known[device] = (signed char)(line < 0 ? -1 : line + 1);
    }
    return known[device] < 0 ? -1 : known[device] - 1;
}

/* What all processes of the container hold */

struct row { int32_t pid, unused; uint64_t started, used[MAX_GPUS]; };
struct usage { uint64_t top, unused; struct row rows[ROWS]; }; /* no row from ``top`` on was ever taken */

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pid_t owner;             /* the process that all of the following belongs to: a fork is another */
static int usage_file = -1;
static dev_t usage_device;
static ino_t usage_inode;
static struct usage *usage;
static struct row *mine;
static uint64_t held[MAX_GPUS]; /* by this process */

/* ``context`` is where it was allocated; of a mapping, the handle of what it keeps alive. */
struct entry { struct entry *next; handle_t key; uint64_t size; CUcontext context; int gpu, kind, references; };
enum { MEMORY, ARRAY, PHYSICAL, MAPPING };
static struct entry *entries[BUCKETS];

/* Field 22 of /proc/<pid>/stat; 0 if it is gone, as is a zombie: the driver has let go of its memory. */
static uint64_t start_time(pid_t pid) {
    char path[32] = "/proc/", digits[12], text[512];
    int n = 0;
    for (pid_t rest = pid; rest; rest /= 10) digits[n++] = (char)('0' + rest % 10);
    char *end = path + 6;
    while (n) *end++ = digits[--n];
    strcpy(end, "/stat");
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t size = read(file, text, sizeof text - 1);
    close(file);
    text[size > 0 ? size : 0] = 0;
    char *at = strrchr(text, ')'); /* the program's name may hold anything */
    if (at && (at[2] == 'Z' || at[2] == 'X')) return 0;
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    uint64_t started = 0;
    if (at) number(at, &started);
    return started;
}

static int rows_taken(void) { return usage->top < ROWS ? (int)usage->top : ROWS; }

/* Ended, or become another program: this process has only the row that it took itself. */
static int is_gone(const struct row *row) { return row->pid == owner || start_time(row->pid) != row->started; }

static void reap(void) {
    for (int i = 0; i < rows_taken(); i++) {
        struct row *row = &usage->rows[i];
        if (row->pid && row != mine && is_gone(row)) memset(row, 0, sizeof *row);
    }
}

static struct row *take_row(void) {
    for (int pass = 0; pass < 2; pass++, reap())
        for (int i = 0; i < ROWS; i++)
            if (!usage->rows[i].pid) {
                struct row *row = &usage->rows[i];
                memset(row, 0, sizeof *row);
                row->pid = owner;
                row->started = start_time(owner);
                if (usage->top <= (uint64_t)i) usage->top = (uint64_t)i + 1;
                return row;
            }
    return NULL;
}

static void forget_everything(void) {
    for (int i = 0; i < BUCKETS; i++)
        for (struct entry *entry = entries[i], *next; entry; entry = next) next = entry->next, free(entry);
    memset(entries, 0, sizeof entries);
    memset(held, 0, sizeof held);
}

/* Programs that become daemons close every file they have, and then the number may be somebody else's. Not by fstat():
 * that has a version of its own in newer C libraries. */
static int is_usage_file(void) {
    struct stat found;
    return usage_file >= 0 && syscall(SYS_fstat, usage_file, &found) == 0 && found.st_dev == usage_device &&
           found.st_ino == usage_inode;
}

static void open_usage(void) {
    struct stat found;
    usage_file = open(FOLDER "/usage", O_RDWR | O_CLOEXEC);
    if (usage_file < 0 || syscall(SYS_fstat, usage_file, &found)) return;
    usage_device = found.st_dev, usage_inode = found.st_ino;
    if (usage) return;
    void *at = mmap(NULL, sizeof *usage, PROT_READ | PROT_WRITE, MAP_SHARED, usage_file, 0);
    usage = at == MAP_FAILED ? NULL : at;
}

/* A fork is another process: what the parent holds is the parent's, and so are its locks. */
static void begin_process(pid_t now) {
    static const pthread_mutex_t fresh = PTHREAD_MUTEX_INITIALIZER;
    if (owner) mutex = fresh;
    pthread_mutex_lock(&mutex);
    if (owner != now) {
        if (is_usage_file()) close(usage_file);
        if (owner) forget_everything();
        read_limits();
        open_usage();
        mine = NULL;
        owner = now;
    }
    pthread_mutex_unlock(&mutex);
}

static void lock(void) {
    pid_t now = getpid();
    if (owner != now) begin_process(now);
    pthread_mutex_lock(&mutex);
}

static void unlock(void) { pthread_mutex_unlock(&mutex); }

/* Against other processes as well. Taking needs it; giving back does not: it only writes a smaller figure in our row. */
static void lock_all(void) {
    lock();
    if (!is_usage_file()) open_usage();
    while (usage_file >= 0 && flock(usage_file, LOCK_EX) && errno == EINTR) {}
}

static void unlock_all(void) {
    if (usage_file >= 0) flock(usage_file, LOCK_UN);
    unlock();
}

static uint64_t used_on(int gpu) {
    uint64_t sum = 0;
    for (int i = 0; i < rows_taken(); i++)
        if (usage->rows[i].pid) sum += usage->rows[i].used[gpu];
    return sum;
}

static uint64_t room_on(int gpu) {
    uint64_t cap = gpus[gpu].total > gpus[gpu].reserved ? gpus[gpu].total - gpus[gpu].reserved : 0;
    uint64_t used = used_on(gpu);
    return used < cap ? cap - used : 0;
}

/* Between lock_all() and unlock_all(). What this process holds is written anew each time, whatever the file says. */
static int add(int gpu, uint64_t size) {
    if (gpu < 0 || !usage || size > UINT64_MAX / 2) return 0;
    if (!mine && !(mine = take_row())) return 0;
    mine->pid = owner;
    mine->used[gpu] = held[gpu];
    if (size > room_on(gpu)) {
        reap();
        if (size > room_on(gpu)) return 0;
    }
    mine->used[gpu] = held[gpu] += size;
    return 1;
}

/* Between lock() and unlock(), as all that follows with entries. */
static void subtract(int gpu, uint64_t size) {
    held[gpu] -= size < held[gpu] ? size : held[gpu];
    if (mine) mine->used[gpu] = held[gpu];
}

static int reserve(int gpu, uint64_t size) {
    lock_all();
    int fits = add(gpu, size);
    unlock_all();
    return fits;
}

static void give_back(int gpu, uint64_t size) {
    lock();
    subtract(gpu, size);
    unlock();
}

static unsigned bucket_of(handle_t key, int kind) {
    return (unsigned)(((key ^ (uint64_t)kind) * 0x9E3779B97F4A7C15ull) >> 48);
}

static struct entry **place_of(handle_t key, int kind) {
    struct entry **at = &entries[bucket_of(key, kind)];
    while (*at && ((*at)->key != key || (*at)->kind != kind)) at = &(*at)->next;
    return at;
}

static void remember(handle_t key, int kind, int gpu, uint64_t size, CUcontext context) {
    struct entry *entry = calloc(1, sizeof *entry); /* without memory for it, its share stays taken */
    if (!entry) return;
    entry->key = key, entry->kind = kind, entry->gpu = gpu, entry->size = size, entry->context = context;
    entry->references = 1;
    lock();
    struct entry **at = place_of(key, kind);
    entry->next = *at ? (*at)->next : NULL;
    struct entry *stale = *at; /* freed behind our back, and its address given again */
    if (stale && kind != MAPPING) subtract(stale->gpu, stale->size);
    free(stale);
    *at = entry;
    unlock();
}

static void drop(struct entry **at) {
    struct entry *entry = *at;
    *at = entry->next;
    if (entry->kind != MAPPING) subtract(entry->gpu, entry->size);
    free(entry);
}

static void release(handle_t key, int kind) {
    struct entry **at = place_of(key, kind);
    if (*at && --(*at)->references == 0) drop(at);
}

/* Freed memory's address may be given again before its free has returned, so it is taken out of the table before. */
static struct entry *detach(handle_t key, int kind) {
    lock();
    struct entry **at = place_of(key, kind), *entry = *at;
    if (entry) *at = entry->next;
    unlock();
    return entry;
}

static CUresult settle(struct entry *entry, CUresult result) {
    if (!entry) return result;
    lock();
    if (result == OK) {
        subtract(entry->gpu, entry->size);
        free(entry);
    } else {
        struct entry **at = &entries[bucket_of(entry->key, entry->kind)];
        entry->next = *at;
        *at = entry;
    }
    unlock();
    return result;
}

static void forget_context(CUcontext context) {
    lock();
    for (int i = 0; context && i < BUCKETS; i++)
        for (struct entry **at = &entries[i]; *at;)
            if ((*at)->context == context && (*at)->kind < PHYSICAL) drop(at);
            else at = &(*at)->next;
    unlock();
}

static int current_gpu(void) {
    CUdevice device = -1;
    lock(); /* the first of these reads the limits */
    unlock();
    return REAL(cuCtxGetDevice, CUdevice *)(&device) == OK ? gpu_of(device) : -1;
}

static CUcontext current_context(void) {
    CUcontext context = NULL;
    return REAL(cuCtxGetCurrent, CUcontext *)(&context) == OK ? context : NULL;
}

/* What the driver would do if ``call`` were made, within the share. The driver's own errors stay its own: without a
 * context it is asked, and says so. */
#define WITHIN(size, key, kind, call) ({ \
    int gpu_ = current_gpu(); \
    uint64_t size_ = (size); \
    CUresult result_ = OUT_OF_MEMORY; \
    if (reserve(gpu_, size_)) { \
        result_ = (call); \
        if (result_ == OK) remember((handle_t)(key), kind, gpu_, size_, current_context()); \
        else give_back(gpu_, size_); \
    } else if (!current_context()) { \
        result_ = (call); \
    } \
    result_; \
})

/* Allocation */

PUBLIC CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t size) {
    return WITHIN(size, *out, MEMORY, REAL(cuMemAlloc_v2, CUdeviceptr *, size_t)(out, size));
}

PUBLIC CUresult cuMemAllocManaged(CUdeviceptr *out, size_t size, unsigned flags) {
    return WITHIN(size, *out, MEMORY, REAL(cuMemAllocManaged, CUdeviceptr *, size_t, unsigned)(out, size, flags));
}

/* The driver chooses the pitch; rows are not longer than this on any card that is known. */
PUBLIC CUresult cuMemAllocPitch_v2(CUdeviceptr *out, size_t *pitch, size_t width, size_t height, unsigned element) {
    size_t row = (width + 511) / 512 * 512;
    size_t size = height && row > SIZE_MAX / height ? SIZE_MAX : row * height;
    return WITHIN(size, *out, MEMORY,
                  REAL(cuMemAllocPitch_v2, CUdeviceptr *, size_t *, size_t, size_t, unsigned)(out, pitch, width, height,
                                                                                             element));
}

#define ASYNC(alloc, from_pool, free_async) \
    PUBLIC CUresult alloc(CUdeviceptr *out, size_t size, CUstream stream) { \
        return WITHIN(size, *out, MEMORY, REAL(alloc, CUdeviceptr *, size_t, CUstream)(out, size, stream)); \
    } \
    PUBLIC CUresult from_pool(CUdeviceptr *out, size_t size, CUmemoryPool pool, CUstream stream) { \
        return WITHIN(size, *out, MEMORY, \
                      REAL(from_pool, CUdeviceptr *, size_t, CUmemoryPool, CUstream)(out, size, pool, stream)); \
    } \
    PUBLIC CUresult free_async(CUdeviceptr at, CUstream stream) { \
        struct entry *entry = detach(at, MEMORY); \
        return settle(entry, REAL(free_async, CUdeviceptr, CUstream)(at, stream)); \
    }
ASYNC(cuMemAllocAsync, cuMemAllocFromPoolAsync, cuMemFreeAsync)
ASYNC(cuMemAllocAsync_ptsz, cuMemAllocFromPoolAsync_ptsz, cuMemFreeAsync_ptsz)

PUBLIC CUresult cuMemFree_v2(CUdeviceptr at) {
    struct entry *entry = detach(at, MEMORY);
    return settle(entry, REAL(cuMemFree_v2, CUdeviceptr)(at));
}

static uint64_t times(uint64_t a, uint64_t b) { return a && b > (UINT64_MAX / 2) / a ? UINT64_MAX / 2 : a * b; }

/* CU_AD_FORMAT_*: 1, 8: one byte; 2, 9, 0x10: two; others at most four. */
static uint64_t texels(uint64_t w, uint64_t h, uint64_t d, int format, unsigned channels) {
    unsigned bytes = format == 1 || format == 8 ? 1 : format == 2 || format == 9 || format == 0x10 ? 2 : 4;
    return times(times(times(w, h ? h : 1), d ? d : 1), bytes * (channels ? channels : 1));
}

PUBLIC CUresult cuArrayCreate_v2(CUarray *out, const array_t *a) {
    return WITHIN(texels(a->Width, a->Height, 1, a->Format, a->NumChannels), (uintptr_t)*out, ARRAY,
                  REAL(cuArrayCreate_v2, CUarray *, const array_t *)(out, a));
}

PUBLIC CUresult cuArray3DCreate_v2(CUarray *out, const array3d_t *a) {
    return WITHIN(texels(a->Width, a->Height, a->Depth, a->Format, a->NumChannels), (uintptr_t)*out, ARRAY,
                  REAL(cuArray3DCreate_v2, CUarray *, const array3d_t *)(out, a));
}

/* All levels together are less than twice the first. */
PUBLIC CUresult cuMipmappedArrayCreate(CUarray *out, const array3d_t *a, unsigned levels) {
    uint64_t first = texels(a->Width, a->Height, a->Depth, a->Format, a->NumChannels);
    return WITHIN(levels > 1 ? times(first, 2) : first, (uintptr_t)*out, ARRAY,
                  REAL(cuMipmappedArrayCreate, CUarray *, const array3d_t *, unsigned)(out, a, levels));
}

#define DESTROY(name) \
    PUBLIC CUresult name(CUarray array) { \
        struct entry *entry = detach((uintptr_t)array, ARRAY); \
        return settle(entry, REAL(name, CUarray)(array)); \
    }
DESTROY(cuArrayDestroy)
DESTROY(cuMipmappedArrayDestroy)

/* Physical memory lives as long as its handle or one of its mappings. These calls wait for nothing, so what they undo
 * is taken out of the table under the lock that a handle which is given again has to wait for. */

PUBLIC CUresult cuMemCreate(handle_t *out, size_t size, const memprop_t *prop, unsigned long long flags) {
    CUresult (*create)(handle_t *, size_t, const memprop_t *, unsigned long long) =
        REAL(cuMemCreate, handle_t *, size_t, const memprop_t *, unsigned long long);
    if (!prop || prop->location.type != ON_DEVICE) return create(out, size, prop, flags);
    lock();
    unlock();
    int gpu = gpu_of(prop->location.id);
    if (!reserve(gpu, size)) return OUT_OF_MEMORY;
    CUresult result = create(out, size, prop, flags);
    if (result == OK) remember(*out, PHYSICAL, gpu, size, NULL);
    else give_back(gpu, size);
    return result;
}

PUBLIC CUresult cuMemRelease(handle_t handle) {
    lock();
    CUresult result = REAL(cuMemRelease, handle_t)(handle);
    if (result == OK) release(handle, PHYSICAL);
    unlock();
    return result;
}

static void refer(handle_t handle) {
    lock();
    struct entry **at = place_of(handle, PHYSICAL);
    if (*at) (*at)->references++;
    unlock();
}

PUBLIC CUresult cuMemRetainAllocationHandle(handle_t *out, void *address) {
    CUresult result = REAL(cuMemRetainAllocationHandle, handle_t *, void *)(out, address);
    if (result == OK) refer(*out);
    return result;
}

PUBLIC CUresult cuMemMap(CUdeviceptr at, size_t size, size_t offset, handle_t handle, unsigned long long flags) {
    CUresult result = REAL(cuMemMap, CUdeviceptr, size_t, size_t, handle_t, unsigned long long)(at, size, offset,
                                                                                              handle, flags);
    if (result == OK) {
        refer(handle);
        remember(at, MAPPING, 0, size, (CUcontext)(uintptr_t)handle);
    }
    return result;
}

PUBLIC CUresult cuMemUnmap(CUdeviceptr at, size_t size) {
    lock();
    CUresult result = REAL(cuMemUnmap, CUdeviceptr, size_t)(at, size);
    /* One call may undo several that lie in a row. */
    for (struct entry **place; result == OK && *(place = place_of(at, MAPPING));) {
        handle_t handle = (uintptr_t)(*place)->context;
        size_t step = (*place)->size;
        drop(place);
        release(handle, PHYSICAL);
        if (!step || step >= size) break;
        at += step, size -= step;
    }
    unlock();
    return result;
}

/* A context takes what was allocated in it along. */

static CUcontext primary[64];

PUBLIC CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device) {
    CUresult result = REAL(cuDevicePrimaryCtxRetain, CUcontext *, CUdevice)(out, device);
    if (result == OK && device >= 0 && device < 64) primary[device] = *out;
    return result;
}

PUBLIC CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    CUresult result = REAL(cuDevicePrimaryCtxReset_v2, CUdevice)(device);
    if (result == OK && device >= 0 && device < 64) forget_context(primary[device]);
    return result;
}

PUBLIC CUresult cuCtxDestroy_v2(CUcontext context) {
    CUresult result = REAL(cuCtxDestroy_v2, CUcontext)(context);
    if (result == OK) forget_context(context);
    return result;
}

/* What a program is told */

PUBLIC CUresult cuDeviceTotalMem_v2(size_t *out, CUdevice device) {
    CUresult result = REAL(cuDeviceTotalMem_v2, size_t *, CUdevice)(out, device);
    lock();
    unlock();
    int gpu = gpu_of(device);
    if (result == OK) *out = gpu < 0 ? 0 : gpus[gpu].total < *out ? gpus[gpu].total : *out;
    return result;
}

/* What all processes of the container may still take, and the size of their GPU: nothing of one they were not given. */
static void share_of(int gpu, uint64_t *free, uint64_t *total) {
    lock_all();
    if (gpu >= 0 && usage) reap();
    *free = gpu >= 0 && usage ? room_on(gpu) : 0;
    *total = gpu >= 0 ? gpus[gpu].total : 0;
    unlock_all();
}

PUBLIC CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
    CUresult result = REAL(cuMemGetInfo_v2, size_t *, size_t *)(free, total);
    if (result != OK) return result;
    uint64_t free_, total_;
    share_of(current_gpu(), &free_, &total_);
    *total = total_ < *total ? total_ : *total;
    *free = free_ < *free ? free_ : *free;
    return result;
}

/* The management library, which nvidia-smi and monitors ask, tells the same. What neighbours use is not told. */

typedef struct { unsigned long long total, free, used; } nvml_memory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } nvml_memory_v2_t;

static int gpu_of_nvml(void *device) {
    char uuid[96];
    CUresult got = REAL(nvmlDeviceGetUUID, void *, char *, unsigned)(device, uuid, sizeof uuid);
    lock(); /* the first of these reads the limits */
    unlock();
    return got == OK ? line_of(uuid) : -1;
}

#define TELL_SHARE(device, out) do { \
    uint64_t free_, total_; \
    share_of(gpu_of_nvml(device), &free_, &total_); \
    (out)->total = total_ < (out)->total ? total_ : (out)->total; \
    (out)->free = free_ < (out)->free ? free_ : (out)->free; \
    (out)->used = (out)->total > (out)->free ? (out)->total - (out)->free : 0; \
} while (0)

PUBLIC CUresult nvmlDeviceGetMemoryInfo(void *device, nvml_memory_t *out) {
    CUresult result = REAL(nvmlDeviceGetMemoryInfo, void *, nvml_memory_t *)(device, out);
    if (result == OK) TELL_SHARE(device, out);
    return result;
}

PUBLIC CUresult nvmlDeviceGetMemoryInfo_v2(void *device, nvml_memory_v2_t *out) {
    CUresult result = REAL(nvmlDeviceGetMemoryInfo_v2, void *, nvml_memory_v2_t *)(device, out);
    if (result == OK) {
        out->reserved = 0;
        TELL_SHARE(device, out);
    }
    return result;
}

/* Calls of before CUDA 3.2, with addresses of 32 bits: nobody makes them, and they would not be counted. */
#define REFUSED(name) PUBLIC CUresult name(void) { return NOT_SUPPORTED; }
REFUSED(cuMemAlloc)
REFUSED(cuMemAllocPitch)
REFUSED(cuArrayCreate)
REFUSED(cuArray3DCreate)

/* Being found */

PUBLIC CUresult cuGetProcAddress(const char *, void **, int, uint64_t);
PUBLIC CUresult cuGetProcAddress_v2(const char *, void **, int, uint64_t, int *);

/* ``since``: the CUDA version from which cuGetProcAddress means this one by ``plain``. */
static const struct { const char *symbol, *plain; void *function; int since; uint64_t flags; } ours[] = {
#define OURS(symbol, plain, since) {#symbol, plain, (void *)symbol, since, 0}
#define OURS_PER_THREAD(symbol, plain) {#symbol, plain, (void *)symbol, 0, PER_THREAD}
    OURS(cuMemAlloc_v2, "cuMemAlloc", 3020), OURS(cuMemFree_v2, "cuMemFree", 3020),
    OURS(cuMemAllocPitch_v2, "cuMemAllocPitch", 3020), OURS(cuMemAllocManaged, "cuMemAllocManaged", 0),
    OURS_PER_THREAD(cuMemAllocAsync_ptsz, "cuMemAllocAsync"),
    OURS_PER_THREAD(cuMemAllocFromPoolAsync_ptsz, "cuMemAllocFromPoolAsync"),
    OURS_PER_THREAD(cuMemFreeAsync_ptsz, "cuMemFreeAsync"), OURS(cuMemAllocAsync, "cuMemAllocAsync", 0),
    OURS(cuMemAllocFromPoolAsync, "cuMemAllocFromPoolAsync", 0), OURS(cuMemFreeAsync, "cuMemFreeAsync", 0),
    OURS(cuArrayCreate_v2, "cuArrayCreate", 3020), OURS(cuArray3DCreate_v2, "cuArray3DCreate", 3020),
    OURS(cuMipmappedArrayCreate, "cuMipmappedArrayCreate", 0), OURS(cuArrayDestroy, "cuArrayDestroy", 0),
    OURS(cuMipmappedArrayDestroy, "cuMipmappedArrayDestroy", 0), OURS(cuMemCreate, "cuMemCreate", 0),
    OURS(cuMemRelease, "cuMemRelease", 0), OURS(cuMemRetainAllocationHandle, "cuMemRetainAllocationHandle", 0),
    OURS(cuMemMap, "cuMemMap", 0), OURS(cuMemUnmap, "cuMemUnmap", 0),
    OURS(cuDevicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain", 0),
    OURS(cuDevicePrimaryCtxReset_v2, "cuDevicePrimaryCtxReset", 0), OURS(cuCtxDestroy_v2, "cuCtxDestroy", 4000),
    OURS(cuDeviceTotalMem_v2, "cuDeviceTotalMem", 3020), OURS(cuMemGetInfo_v2, "cuMemGetInfo", 3020),
    OURS(cuMemAlloc, "cuMemAlloc", 0), OURS(cuMemAllocPitch, "cuMemAllocPitch", 0),
    OURS(cuArrayCreate, "cuArrayCreate", 0), OURS(cuArray3DCreate, "cuArray3DCreate", 0),
    OURS(nvmlDeviceGetMemoryInfo, "", 0), OURS(nvmlDeviceGetMemoryInfo_v2, "", 0),
    OURS(cuGetProcAddress_v2, "cuGetProcAddress", 12000), OURS(cuGetProcAddress, "cuGetProcAddress", 0),
};
enum { COUNT = sizeof ours / sizeof ours[0] };

static void *ours_called(const char *plain, int version, uint64_t flags) {
    for (int i = 0; i < COUNT; i++)
        if (!strcmp(plain, ours[i].plain) && version >= ours[i].since && (!ours[i].flags || ours[i].flags & flags))
            return ours[i].function;
    return NULL;
}

static void *ours_named(const char *symbol) {
    for (int i = 0; i < COUNT; i++)
        if (!strcmp(symbol, ours[i].symbol)) return ours[i].function;
    return NULL;
}

PUBLIC CUresult cuGetProcAddress(const char *name, void **out, int version, uint64_t flags) {
    CUresult result = REAL(cuGetProcAddress, const char *, void **, int, uint64_t)(name, out, version, flags);
    void *function = result == OK && *out ? ours_called(name, version, flags) : NULL;
    if (function) *out = function;
    return result;
}

PUBLIC CUresult cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
    CUresult result =
        REAL(cuGetProcAddress_v2, const char *, void **, int, uint64_t, int *)(name, out, version, flags, status);
    void *function = result == OK && *out ? ours_called(name, version, flags) : NULL;
    if (function) *out = function;
    return result;
}

/* The last call is a jump (the compiler makes it one at -O2): the real dlsym looks at who called it for RTLD_NEXT. */
PUBLIC void *dlsym(void *handle, const char *name) {
    find_dlsym();
    if ((name[0] == 'c' && name[1] == 'u') || (name[0] == 'n' && name[1] == 'v')) {
        void *function = ours_named(name);
        if (function) return function;
    }
    return real_dlsym(handle, name);
}
