/* A libcuda.so.1 whose GPU is the processor: memory is the host's, poisoned; kernels are functions of the library that
   FAKE_KERNELS names. FAKE_CAPABILITY is 90 for sm_90, FAKE_SHARED the bytes of shared memory, FAKE_OFFSET how far behind a
   multiple of 256 bytes memory begins. */

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dlpack/dlpack.h>

typedef struct {
  int x, y, z;
} Extent;
typedef int (*Kernel)(void**, Extent, Extent, int);

/* memory held, contexts pushed, launches, stream of the last launch, 1 for cubin and 2 for PTX, ordered allocations,
   arrays that the borrowed allocator made */
long fake_state[7];
static int allowed[64], kernels;
static Kernel found[64];

static long setting(const char* name, long otherwise) {
  const char* text = getenv(name);
  return text ? atol(text) : otherwise;
}

int cuInit(unsigned flags) { return setting("FAKE_DEVICES", 2) ? 0 : 100; }
int cuDeviceGet(int* handle, int number) {
  *handle = number;
  return number < setting("FAKE_DEVICES", 2) ? 0 : 101;
}
int cuDeviceGetAttribute(int* value, int which, int device) {
  long capability = setting("FAKE_CAPABILITY", 90);
  *value = which == 75 ? capability / 10 : which == 76 ? capability % 10 : setting("FAKE_SHARED", 232448);
  return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int device) {
  *context = (char*)0x1000 + device;
  return 0;
}
int cuCtxPushCurrent_v2(void* context) {
  ++fake_state[1];
  return context ? 0 : 201;
}
int cuCtxPopCurrent_v2(void** context) {
  --fake_state[1];
  return 0;
}
int cuModuleLoadData(void** module, const void* code) {
  fake_state[4] = memcmp(code, "\x7f" "ELF", 4) ? 2 : 1;
  if (fake_state[4] == 2 && !strstr(code, ".entry")) return 218;
  *module = dlopen(getenv("FAKE_KERNELS"), RTLD_NOW | RTLD_LOCAL);
  return *module ? 0 : 301;
}
int cuModuleGetFunction(void** function, void* module, const char* name) {
  char whole[128] = "run_";
  strncat(whole, name, 100);
  if (!(found[kernels] = (Kernel)dlsym(module, whole))) return 500;
  *function = (void*)(intptr_t)(++kernels);
  return 0;
}
int cuFuncSetAttribute(void* function, int which, int value) {
  allowed[(intptr_t)function] = value;
  return which == 8 ? 0 : 1;
}
static int allocate(uint64_t* place, size_t size) {
  if (!size || size > (size_t)1 << 30 || !fake_state[1]) return 2;
  char* memory = aligned_alloc(256, (size + 511) / 256 * 256);
  memset(memory, 0xFF, size + 256);
  ++fake_state[0];
  *place = (uint64_t)memory + setting("FAKE_OFFSET", 0);
  return 0;
}
int cuMemAlloc_v2(uint64_t* place, size_t size) { return allocate(place, size); }
int cuMemAllocAsync(uint64_t* place, size_t size, void* stream) {
  if (setting("FAKE_OLD", 0)) return 801;
  ++fake_state[5];
  return allocate(place, size);
}
int cuMemFree_v2(uint64_t place) {
  free((void*)(place & ~(uint64_t)255));
  --fake_state[0];
  return fake_state[1] ? 0 : 201;
}
int cuMemFreeAsync(uint64_t place, void* stream) { return setting("FAKE_OLD", 0) ? 801 : cuMemFree_v2(place); }
int cuMemcpyHtoD_v2(uint64_t to, const void* data, size_t size) {
  memcpy((void*)to, data, size);
  return 0;
}
int cuStreamSynchronize(void* stream) { return fake_state[1] && !stream ? 0 : 1; }
int cuGetErrorString(int status, const char** words) {
  *words = status == 2 ? "out of memory" : "something else";
  return 0;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** arguments, void** extra) {
  if (!fake_state[1] || allowed[(intptr_t)function] < (int)shared || !gx || !gy || !gz) return 1;
  ++fake_state[2];
  fake_state[3] = (long)stream;
  Extent grid = {gx, gy, gz}, block = {bx, by, bz};
  return found[(intptr_t)function - 1](arguments, grid, block, 0) ? 700 : 0;
}

/* An allocator as PyTorch lends it. */
static void release(DLManagedTensorVersioned* tensor) {
  --fake_state[6];
  free(tensor->dl_tensor.data);
  free(tensor->dl_tensor.shape);
  free(tensor);
}
int fake_lend(DLTensor* prototype, DLManagedTensorVersioned** out, void* context,
              void (*fault)(void*, const char*, const char*)) {
  size_t size = prototype->dtype.bits / 8;
  DLManagedTensorVersioned* made = calloc(1, sizeof *made);
  made->version.major = DLPACK_MAJOR_VERSION, made->version.minor = DLPACK_MINOR_VERSION;
  made->dl_tensor = *prototype;
  made->dl_tensor.shape = malloc(sizeof(int64_t) * prototype->ndim);
  memcpy(made->dl_tensor.shape, prototype->shape, sizeof(int64_t) * prototype->ndim);
  for (int at = 0; at < prototype->ndim; ++at) size *= prototype->shape[at];
  made->dl_tensor.data = aligned_alloc(256, (size + 256) / 256 * 256);
  memset(made->dl_tensor.data, 0xFF, size);
  made->deleter = release;
  ++fake_state[6];
  *out = made;
  return 0;
}
