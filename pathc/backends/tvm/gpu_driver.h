/* The CUDA driver, found when a function is first called, and what one net has loaded on every GPU.

   tables.h, written beside this file for one net, lists its arrays, kernels and binaries. */

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tvm/ffi/c_api.h>
#include <tvm/ffi/extra/c_env_api.h>

enum { BATCH, STEPS, ROWS };
/* What is not `x`, `y` and their gradients is read and written by vectors of so many bytes. */
enum { MOST_DEVICES = 64, ALIGNMENT = 256, VECTOR = 16 };
enum { MAJOR = 75, MINOR = 76, SHARED_MOST = 97, SHARED_WANTED = 8, NOT_SUPPORTED = 801 };

/* An array has fixed + per_sequence * batch + per_row * rows + per_tile * tiles elements, where rows are samples, or steps
   of all sequences; those that are made here are [batch, per_row], of sequences [batch, steps, per_row], or of the `ndim`
   extents in `shape`. */
typedef struct {
  const char* name;
  int64_t fixed, per_sequence, per_row, per_tile;
  uint8_t code, bits;
  int ndim;
  int64_t shape[4];
} Array;

/* BATCH, STEPS or ROWS, divided and rounded up. */
typedef struct {
  int of, by;
} Number;

/* Extents of the grid are themselves, arguments are places in `arrays`; those below zero are places in `numbers`, counted
   down from -1. */
typedef struct {
  const char* name;
  int grid[3];
  unsigned block[3], shared;
  int count;
  const int16_t* arguments;
} Launch;

/* `minor` is the least that it runs on; `newer` says that later major numbers run it, too. */
typedef struct {
  int major, minor, newer;
  const char* code;
} Binary;

#include "tables.h"

typedef uint64_t Place;

#define DRIVER(call)                                                                                       \
  call(cuInit, (unsigned)) call(cuDeviceGet, (int*, int)) call(cuDeviceGetAttribute, (int*, int, int))     \
  call(cuDevicePrimaryCtxRetain, (void**, int)) call(cuCtxPushCurrent_v2, (void*))                         \
  call(cuCtxPopCurrent_v2, (void**)) call(cuModuleLoadData, (void**, const void*))                         \
  call(cuModuleGetFunction, (void**, void*, const char*)) call(cuFuncSetAttribute, (void*, int, int))      \
  call(cuMemAlloc_v2, (Place*, size_t)) call(cuMemFree_v2, (Place))                                        \
  call(cuMemAllocAsync, (Place*, size_t, void*)) call(cuMemFreeAsync, (Place, void*))                      \
  call(cuMemcpyHtoD_v2, (Place, const void*, size_t)) call(cuStreamSynchronize, (void*))                   \
  call(cuGetErrorString, (int, const char**))                                                              \
  call(cuLaunchKernel, (void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**, \
                        void**))

#define POINTER(name, parameters) int(*name) parameters;
static struct { DRIVER(POINTER) } cu;

static struct {
  void* context;
  void* functions[LAUNCHES];
} devices[MOST_DEVICES];
static int started;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int fail(const char* format, ...) {
  char text[512];
  va_list given;
  va_start(given, format);
  vsnprintf(text, sizeof text, format, given);
  va_end(given);
  TVMFFIErrorSetRaisedFromCStr(strncmp(text, "E0512", 5) ? "RuntimeError" : "ValueError", text);
  return -1;
}

/* What is wrong with arrays that were given. */
#define misfit(...) fail("E0512: " __VA_ARGS__)

static int refused(const char* name, int status) {
  const char* words = NULL;
  cu.cuGetErrorString(status, &words);
  return fail("E0665: the CUDA driver refused: %s failed with %d: %s", name, status, words ? words : "");
}

#define CALL(name, ...)                                \
  do {                                                 \
    int status = cu.name(__VA_ARGS__);                 \
    if (status) return refused(#name, status);         \
  } while (0)

static int start(void) {
  if (started) return 0;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) return fail("E0664: there is no CUDA driver here (libcuda.so.1)");
#define FIND(name, parameters)                                                                                  \
  if (!(*(void**)&cu.name = dlsym(library, #name)))                                                             \
    return fail("E0664: the CUDA driver here is too old: it has no " #name);
  DRIVER(FIND)
  if (cu.cuInit(0)) return fail("E0664: there is a CUDA driver, but it finds no GPU");
  started = 1;
  return 0;
}

static int leave(int status) {
  void* context;
  cu.cuCtxPopCurrent_v2(&context);
  return status;
}

static int load(int device) {
  int handle, major, minor, shared;
  void *context, *module;
  CALL(cuDeviceGet, &handle, device);
  CALL(cuDeviceGetAttribute, &major, MAJOR, handle);
  CALL(cuDeviceGetAttribute, &minor, MINOR, handle);
  CALL(cuDeviceGetAttribute, &shared, SHARED_MOST, handle);
  const Binary* chosen = NULL;
  for (int at = 0; at < BINARIES && !chosen; ++at) {
    const Binary* one = &binaries[at];
    int same = major == one->major && minor >= one->minor;
    if (same || (one->newer && major > one->major)) chosen = one;
  }
  if (!chosen) return fail("E0674: this library is for " MADE_FOR ", and the GPU is sm_%d%d", major, minor);
  for (int at = 0; at < LAUNCHES; ++at) {
    unsigned needed = launches[at].shared;
    if (needed > (unsigned)shared)
      return fail("E0666: a kernel needs %u bytes of shared memory, the GPU has %d", needed, shared);
  }
  CALL(cuDevicePrimaryCtxRetain, &context, handle);
  CALL(cuCtxPushCurrent_v2, context);
  int status = cu.cuModuleLoadData(&module, chosen->code);
  for (int at = 0; at < LAUNCHES && !status; ++at) {
    void** function = &devices[device].functions[at];
    status = cu.cuModuleGetFunction(function, module, launches[at].name);
    if (!status) status = cu.cuFuncSetAttribute(*function, SHARED_WANTED, (int)launches[at].shared);
  }
  leave(0);
  if (status) return refused("cuModuleLoadData", status);
  devices[device].context = context;
  return 0;
}

/* The context of a GPU becomes the current one, with the kernels loaded. `leave` undoes that. */
static int enter(int device) {
  if (device < 0 || device >= MOST_DEVICES) return misfit("there is no GPU %d", device);
  pthread_mutex_lock(&lock);
  int failed = start() || (!devices[device].context && load(device));
  pthread_mutex_unlock(&lock);
  if (failed) return -1;
  CALL(cuCtxPushCurrent_v2, devices[device].context);
  return 0;
}

