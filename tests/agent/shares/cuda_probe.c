/* A program that uses the GPU, for tests: carries out its arguments in order and prints one line for each answer.
 *
 * link dlsym proc proc-old ptsz   how the calls that follow are found
 * device N                        the GPU to use from now on (0 at first)
 * total info                      what the program is told: "total N", "info FREE TOTAL", in MiB
 * alloc N (MiB)                   with managed, async, pitch, array, create: by that call; "alloc RESULT"
 * free                            what was allocated last; by the call that goes with it
 * map unmap release               of what was created last; map keeps it alive
 * reset                           the device's context goes, with all in it
 * bytes N                         as alloc, in bytes
 * fork                            a child goes on with the rest; we wait for it
 * closeall                        closes every file but the usual three, and opens others; "closeall INTACT": they stay
 * exec                            the rest is done by this program started anew
 * hold                            prints "holding" and waits for a signal
 * alone N M                       takes N MiB M times, for a moment; "alone TIMES OTHERS": how often it got it, and how
 *                                 often somebody else had it at that moment (a file "taken" is there)
 * threads N                       two threads allocate and free 1 MiB N times each; "threads WRONG": how often one of
 *                                 them was told that nothing is taken while it held its own
 * churn N                         allocates and frees 1 MiB N times; "churn NANOSECONDS" for one pair
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long long u64;

extern int cuMemAlloc_v2(u64 *, size_t), cuMemFree_v2(u64), cuMemGetInfo_v2(size_t *, size_t *);
extern int cuDeviceTotalMem_v2(size_t *, int), cuInit(unsigned);
extern int cuDevicePrimaryCtxRetain(void **, int), cuCtxSetCurrent(void *), cuDevicePrimaryCtxReset_v2(int);

static const char *how = "link";
static int current;

static void *find(const char *plain, const char *symbol) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW), *found = NULL;
    if (!strcmp(how, "proc") || !strcmp(how, "ptsz")) {
        int (*first)(const char *, void **, int, uint64_t) = dlsym(library, "cuGetProcAddress");
        int (*ask)(const char *, void **, int, uint64_t, int *) = NULL;
        first("cuGetProcAddress", (void **)&ask, 12000, 0); /* as the CUDA runtime does */
        ask(plain, &found, 12000, strcmp(how, "ptsz") ? 0 : 2, NULL);
        return found;
    }
    if (!strcmp(how, "proc-old")) {
        int (*ask)(const char *, void **, int, uint64_t) = dlsym(library, "cuGetProcAddress");
        ask(plain, &found, 11080, 0);
        return found;
    }
    return dlsym(library, symbol);
}

#define CALL(plain, symbol, ...) ((int (*)(__VA_ARGS__))find(plain, symbol))

static void use(int device) {
    void *context;
    current = device;
    cuDevicePrimaryCtxRetain(&context, device);
    cuCtxSetCurrent(context);
}

static const char *kind = "";
static u64 last;

static int allocate(size_t size) {
    struct { int type, handles, where, id; } prop = {1, 0, 1, current};
    size_t pitch, sizes[6] = {size, 0, 0, 1, 0, 0};
    ((int *)sizes)[6] = 1, ((int *)sizes)[7] = 1; /* one byte a texel */
    if (!strcmp(kind, "managed"))
        return CALL("cuMemAllocManaged", "cuMemAllocManaged", u64 *, size_t, unsigned)(&last, size, 1);
    if (!strcmp(kind, "async"))
        return CALL("cuMemAllocAsync", "cuMemAllocAsync", u64 *, size_t, void *)(&last, size, NULL);
    if (!strcmp(kind, "pitch"))
        return CALL("cuMemAllocPitch", "cuMemAllocPitch_v2", u64 *, size_t *, size_t, size_t, unsigned)(
            &last, &pitch, 1024, size / 1024, 4);
    if (!strcmp(kind, "array")) return CALL("cuArray3DCreate", "cuArray3DCreate_v2", void *, void *)(&last, sizes);
    if (!strcmp(kind, "create"))
        return CALL("cuMemCreate", "cuMemCreate", u64 *, size_t, void *, u64)(&last, size, &prop, 0);
    if (!strcmp(how, "link")) return cuMemAlloc_v2(&last, size);
    return CALL("cuMemAlloc", "cuMemAlloc_v2", u64 *, size_t)(&last, size);
}

static int give_back(void) {
    if (!strcmp(kind, "async")) return CALL("cuMemFreeAsync", "cuMemFreeAsync", u64, void *)(last, NULL);
    if (!strcmp(kind, "array")) return CALL("cuArrayDestroy", "cuArrayDestroy", u64)(last);
    if (!strcmp(how, "link")) return cuMemFree_v2(last);
    return CALL("cuMemFree", "cuMemFree_v2", u64)(last);
}

static size_t untaken;
static int wrong;

static void *churn(void *rounds) {
    size_t free_bytes, total;
    use(0);
    for (int n = 0; n < *(int *)rounds; n++) {
        u64 at;
        if (cuMemAlloc_v2(&at, 1 << 20)) continue;
        usleep(20); /* time for whoever had this address to return from its free */
        cuMemGetInfo_v2(&free_bytes, &total);
        if (free_bytes >= untaken) __atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
        cuMemFree_v2(at);
        usleep(100); /* and then to hold nothing */
    }
    return NULL;
}

static u64 now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (u64)at.tv_sec * 1000000000ull + (u64)at.tv_nsec;
}

int main(int count, char **words) {
    size_t free_bytes, total;
    setvbuf(stdout, NULL, _IOLBF, 0);
    cuInit(0);
    use(0);
    for (int i = 1; i < count; i++) {
        const char *word = words[i];
        if (strstr(" link dlsym proc proc-old ptsz ", word) && strlen(word) > 3) how = word;
        else if (strstr(" managed async pitch array create plain ", word) && strlen(word) > 4) kind = word;
        else if (!strcmp(word, "device")) use(atoi(words[++i]));
        else if (!strcmp(word, "total")) {
            if (!strcmp(how, "link")) cuDeviceTotalMem_v2(&total, current);
            else CALL("cuDeviceTotalMem", "cuDeviceTotalMem_v2", size_t *, int)(&total, current);
            printf("total %zu\n", total >> 20);
        } else if (!strcmp(word, "info")) {
            if (!strcmp(how, "link")) cuMemGetInfo_v2(&free_bytes, &total);
            else CALL("cuMemGetInfo", "cuMemGetInfo_v2", size_t *, size_t *)(&free_bytes, &total);
            printf("info %zu %zu\n", free_bytes >> 20, total >> 20);
        } else if (!strcmp(word, "alloc")) printf("alloc %d\n", allocate((size_t)atoll(words[++i]) << 20));
        else if (!strcmp(word, "bytes")) printf("bytes %d\n", allocate((size_t)atoll(words[++i])));
        else if (!strcmp(word, "free")) printf("free %d\n", give_back());
        else if (!strcmp(word, "map"))
            printf("map %d\n", CALL("", "cuMemMap", u64, size_t, size_t, u64, u64)(last << 40, 1 << 20, 0, last, 0));
        else if (!strcmp(word, "unmap")) printf("unmap %d\n", CALL("", "cuMemUnmap", u64, size_t)(last << 40, 1 << 20));
        else if (!strcmp(word, "release")) printf("release %d\n", CALL("", "cuMemRelease", u64)(last));
        else if (!strcmp(word, "reset")) cuDevicePrimaryCtxReset_v2(current), use(current);
        else if (!strcmp(word, "fork")) {
            fflush(stdout);
            int status;
            pid_t child = fork();
            if (child) {
                waitpid(child, &status, 0);
                return 0;
            }
        } else if (!strcmp(word, "exec")) {
            words[i] = words[0];
            fflush(stdout);
            execv("/proc/self/exe", words + i);
        } else if (!strcmp(word, "closeall")) {
            for (int fd = 3; fd < 256; fd++) close(fd);
            int first = open("/dev/null", O_RDONLY), intact = 1;
            for (int fd = first; fd < 32; fd++) open("/dev/null", O_RDONLY);
            u64 at;
            if (cuMemAlloc_v2(&at, 1 << 20) == 0) cuMemFree_v2(at);
            for (int fd = first; fd < 32; fd++) intact &= fcntl(fd, F_GETFD) >= 0;
            printf("closeall %d\n", intact);
        } else if (!strcmp(word, "hold")) {
            printf("holding\n");
            pause();
        } else if (!strcmp(word, "threads")) {
            int rounds = atoi(words[++i]);
            pthread_t threads[2];
            cuMemGetInfo_v2(&untaken, &total);
            for (int n = 0; n < 2; n++) pthread_create(&threads[n], NULL, churn, &rounds);
            for (int n = 0; n < 2; n++) pthread_join(threads[n], NULL);
            printf("threads %d\n", wrong);
        } else if (!strcmp(word, "alone")) {
            size_t size = (size_t)atoll(words[++i]) << 20;
            int rounds = atoi(words[++i]), times = 0, others = 0;
            for (int n = 0; n < rounds; n++) {
                u64 at;
                if (cuMemAlloc_v2(&at, size)) continue;
                int file = open("taken", O_CREAT | O_EXCL, 0600);
                times++, others += file < 0;
                if (file >= 0) close(file), unlink("taken");
                cuMemFree_v2(at);
            }
            printf("alone %d %d\n", times, others);
        } else if (!strcmp(word, "churn")) {
            int rounds = atoi(words[++i]);
            u64 at, from = now();
            for (int n = 0; n < rounds; n++)
                if (cuMemAlloc_v2(&at, 1 << 20) == 0) cuMemFree_v2(at);
            printf("churn %llu\n", (now() - from) / (u64)rounds);
        } else {
            fprintf(stderr, "not understood: %s\n", word);
            return 2;
        }
    }
    return 0;
}
