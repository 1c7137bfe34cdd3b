/* The host part of a net as a shared library for apache-tvm-ffi: arrays by DLPack, kernels through libcuda alone.

   Functions:

     forward(x, weights..., states...) -> y         memory that of PyTorch where x is its tensor, else the driver's
     gradients(x, dy, weights...) -> [dx, sums...]  only for nets with a backward pass
     run(batch, arrays...)                          the forward pass on given memory; all arrays in their order
     NAME(batch, arrays...)                         one kernel with its own arrays
     upload(array, device) -> array                 from the memory of the host to that of a GPU

   Of nets with cells `x` and `y` are sequences, `run` and kernels take a number of steps behind that of sequences, and
   states are written. Everything is launched on the current stream of the GPU that holds the arrays, and nothing waits for it. Errors
   begin with the code that `pathc explain` explains. */

#include "gpu_driver.h"

static const DLTensor* tensor(const TVMFFIAny* given) {
  if (given->type_index == kTVMFFIDLTensorPtr) return given->v_ptr;
  if (given->type_index == kTVMFFITensor) return (const void*)((const char*)given->v_obj + sizeof(TVMFFIObject));
  return NULL;
}

static int64_t elements(const DLTensor* array) {
  int64_t count = 1, stride = 1;
  for (int at = 0; at < array->ndim; ++at) count *= array->shape[at];
  for (int at = array->ndim - 1; at >= 0 && array->strides && count; stride *= array->shape[at--])
    if (array->shape[at] != 1 && array->strides[at] != stride) return -1;
  return count;
}

/* Samples, or sequences of so many steps. */
typedef struct {
  int64_t batch, steps;
} Size;

static int64_t number_of(const Number* number, Size size) {
  int64_t whole = number->of == BATCH ? size.batch : number->of == STEPS ? size.steps : size.batch * size.steps;
  return (whole + number->by - 1) / number->by;
}

static int64_t size_of(const Array* array, Size size) {
  int64_t rows = size.batch * size.steps, tiles = (rows + LANES - 1) / LANES;
  return array->fixed + array->per_sequence * size.batch + array->per_row * rows + array->per_tile * tiles;
}

/* As DLPack counts them. */
static const char* const kinds[] = {"int", "uint", "float"};

static int take(const Array* wanted, const TVMFFIAny* given, Size size, int* device, Place* place) {
  const DLTensor* array = tensor(given);
  const char* name = wanted->name;
  if (!array) return misfit("`%s` is no array that speaks DLPack", name);
  if (array->device.device_type != kDLCUDA) return misfit("`%s` does not lie on a GPU", name);
  if (*device >= 0 && array->device.device_id != *device) return misfit("`%s` lies on another GPU", name);
  if (array->dtype.code != wanted->code || array->dtype.bits != wanted->bits || array->dtype.lanes != 1)
    return misfit("the numbers of `%s` are not %s%d", name, kinds[wanted->code], wanted->bits);
  int64_t count = elements(array), needed = size_of(wanted, size);
  if (count < 0) return misfit("`%s` is not contiguous", name);
  if (count != needed) return misfit("`%s` has %lld numbers, not %lld", name, (long long)count, (long long)needed);
  *device = array->device.device_id;
  *place = (Place)array->data + array->byte_offset;
  int aligned = wanted - arrays < FIRST_BUFFER ? wanted->bits / 8 : VECTOR;
  if (count && *place % aligned) return misfit("`%s` does not begin at a multiple of %d bytes", name, aligned);
  return 0;
}

static int check_size(Size size) {
  if (size.steps < 1) return fail("E0371: sequences have no step");
  if (size.batch >= 0 && size.batch <= MOST && size.steps <= MOST && size.batch * size.steps <= MOST) return 0;
  const long long batch = size.batch, steps = size.steps, most = MOST;
  if (SEQUENCES)
    return misfit("%lld sequences of %lld steps are too many for a call, which takes %lld steps", batch, steps, most);
  return misfit("%lld samples are too many for a call, which takes %lld", batch, most);
}

static int launch(int at, const Place* places, Size size, int device) {
  const Launch* one = &launches[at];
  int32_t given[NUMBERS];
  void* arguments[MOST_ARGUMENTS];
  unsigned grid[3];
  for (int k = 0; k < NUMBERS; ++k) given[k] = (int32_t)number_of(&numbers[k], size);
  for (int k = 0; k < one->count; ++k) {
    int which = one->arguments[k];
    arguments[k] = which < 0 ? (void*)&given[-1 - which] : (void*)&places[which];
  }
  for (int axis = 0; axis < 3; ++axis)
    grid[axis] = (unsigned)(one->grid[axis] < 0 ? given[-1 - one->grid[axis]] : one->grid[axis]);
  CALL(cuLaunchKernel, devices[device].functions[at], grid[0], grid[1], grid[2], one->block[0], one->block[1],
       one->block[2], one->shared, TVMFFIEnvGetStream(kDLCUDA, device), arguments, NULL);
  return 0;
}

static int launch_all(int first, int end, const Place* places, Size size, int device) {
  for (int at = first; at < end && size.batch; ++at)
    if (launch(at, places, size, device)) return -1;
  return 0;
}

typedef struct {
  DLManagedTensor managed;
  int64_t shape[8];
} Owned;

static void discard(DLManagedTensor* managed) {
  Owned* owned = managed->manager_ctx;
  if (!enter(managed->dl_tensor.device.device_id)) {
    cu.cuMemFree_v2((Place)managed->dl_tensor.data);
    leave(0);
  }
  free(owned);
}

/* A new array like the prototype: lent by PyTorch if it called and `lent` allows it, else of memory that is freed when
   the GPU has done all its work, as nobody knows which streams will have read it. */
static int make(const DLTensor* prototype, int lent, TVMFFIObjectHandle* made) {
  if (lent && TVMFFIEnvGetDLPackManagedTensorAllocator()) return TVMFFIEnvTensorAlloc((DLTensor*)prototype, made);
  Owned* owned = calloc(1, sizeof *owned);
  if (!owned || prototype->ndim > 8) {
    free(owned);
    return fail("E0512: an array cannot be made");
  }
  owned->managed = (DLManagedTensor){*prototype, owned, discard};
  memcpy(owned->shape, prototype->shape, sizeof(int64_t) * prototype->ndim);
  owned->managed.dl_tensor.shape = owned->shape;
  owned->managed.dl_tensor.strides = NULL;
  owned->managed.dl_tensor.byte_offset = 0;
  size_t size = (size_t)elements(&owned->managed.dl_tensor) * (prototype->dtype.bits / 8);
  Place place;
  int status = cu.cuMemAlloc_v2(&place, size ? size : 1);
  if (status) {
    free(owned);
    return refused("cuMemAlloc_v2", status);
  }
  owned->managed.dl_tensor.data = (void*)place;
  return TVMFFITensorFromDLPack(&owned->managed, 0, 0, made);
}

static int make_array(int at, Size size, int device, TVMFFIObjectHandle* made, Place* place) {
  const Array* array = &arrays[at];
  int64_t rows[] = {size.batch, SEQUENCES ? size.steps : array->per_row, array->per_row};
  int64_t* shape = array->ndim ? (int64_t*)array->shape : rows;
  int ndim = array->ndim ? array->ndim : AXES;
  DLTensor prototype = {NULL, {kDLCUDA, device}, ndim, {array->code, array->bits, 1}, shape, NULL, 0};
  if (make(&prototype, 1, made)) return -1;
  TVMFFIAny held = {.type_index = kTVMFFITensor, .v_obj = *made};
  const DLTensor* fresh = tensor(&held);
  *place = (Place)fresh->data + fresh->byte_offset;
  return 0;
}

/* One piece of memory for all buffers, by the order of the stream; `scratch` is what PyTorch lent, or NULL. */
static int make_buffers(Size size, int device, Place* places, TVMFFIObjectHandle* scratch, Place* own) {
  int64_t starts[ARRAYS], total = 0;
  *scratch = NULL, *own = 0;
  for (int at = FIRST_BUFFER; at < FIRST_SUM; ++at) {
    starts[at] = total;
    int64_t bytes = size_of(&arrays[at], size) * (arrays[at].bits / 8);
    total += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }
  if (!total) return 0;
  Place base;
  if (TVMFFIEnvGetDLPackManagedTensorAllocator()) {
    DLTensor prototype = {NULL, {kDLCUDA, device}, 1, {kDLUInt, 8, 1}, &total, NULL, 0};
    if (make(&prototype, 1, scratch)) return -1;
    TVMFFIAny held = {.type_index = kTVMFFITensor, .v_obj = *scratch};
    base = (Place)tensor(&held)->data + tensor(&held)->byte_offset;
  } else {
    int status = cu.cuMemAllocAsync(&base, (size_t)total, TVMFFIEnvGetStream(kDLCUDA, device));
    if (status == NOT_SUPPORTED) status = cu.cuMemAlloc_v2(&base, (size_t)total);
    if (status) return refused("cuMemAllocAsync", status);
    *own = base;
  }
  for (int at = FIRST_BUFFER; at < FIRST_SUM; ++at) places[at] = base + (Place)starts[at];
  return 0;
}

static void free_buffers(int device, TVMFFIObjectHandle scratch, Place own) {
  if (scratch) TVMFFIObjectDecRef(scratch);
  if (own && cu.cuMemFreeAsync(own, TVMFFIEnvGetStream(kDLCUDA, device))) cu.cuMemFree_v2(own);
}

static int count_is(int given, int wanted, const char* name) {
  if (given == wanted) return 0;
  return misfit("`%s` takes %d arguments, not %d", name, wanted, given);
}

/* Samples of the first argument, which must be [batch, inputs], or sequences [batch, steps, inputs]. */
static int size_given(const TVMFFIAny* given, Size* size) {
  const DLTensor* x = tensor(given);
  if (!x || x->ndim != AXES || x->shape[AXES - 1] != arrays[X].per_row)
    return misfit("`x` is not [batch, %s%lld]", SEQUENCES ? "steps, " : "", (long long)arrays[X].per_row);
  *size = (Size){x->shape[0], SEQUENCES ? x->shape[1] : 1};
  return check_size(*size);
}

/* Weights, and states behind them. */
static int take_rest(const TVMFFIAny* given, Size size, int* device, Place* places) {
  for (int at = FIRST_WEIGHT; at < ARRAYS; ++at)
    if (take(&arrays[at], &given[at - FIRST_WEIGHT], size, device, &places[at])) return -1;
  return 0;
}

/* Launch with fresh memory for the `count` arrays that `fresh` lists; their handles are the caller's. */
static int compute(int end, const int* fresh, int count, Place* places, Size size, int device,
                   TVMFFIObjectHandle* made) {
  TVMFFIObjectHandle scratch;
  Place own;
  int done = 0;
  if (enter(device)) return -1;
  int failed = make_buffers(size, device, places, &scratch, &own);
  for (; !failed && done < count; done += !failed)
    failed = make_array(fresh[done], size, device, &made[done], &places[fresh[done]]);
  if (!failed) failed = launch_all(0, end, places, size, device);
  free_buffers(device, scratch, own);
  while (failed && done) TVMFFIObjectDecRef(made[--done]);
  return leave(failed);
}

#define EXPORT(name) \
  TVM_FFI_DLL_EXPORT int __tvm_ffi_##name(void* self, const TVMFFIAny* given, int32_t count, TVMFFIAny* result)

EXPORT(forward) {
  static const int fresh[] = {Y};
  Place places[ARRAYS];
  TVMFFIObjectHandle y;
  Size size;
  int device = -1;
  (void)self;
  if (count_is(count, 1 + ARRAYS - FIRST_WEIGHT, "forward") || size_given(given, &size)) return -1;
  if (take(&arrays[X], given, size, &device, &places[X]) || take_rest(given + 1, size, &device, places)) return -1;
  if (compute(FORWARD, fresh, 1, places, size, device, &y)) return -1;
  *result = (TVMFFIAny){.type_index = kTVMFFITensor, .v_obj = y};
  return 0;
}

#if FORWARD < LAUNCHES
EXPORT(gradients) {
  int fresh[2 + FIRST_WEIGHT - FIRST_SUM] = {Y, DX}, wanted = 2;
  TVMFFIObjectHandle made[2 + FIRST_WEIGHT - FIRST_SUM], pack;
  TVMFFIAny held[2 + FIRST_WEIGHT - FIRST_SUM];
  TVMFFIByteArray name = {"ffi.Array", 9};
  Place places[ARRAYS];
  Size size;
  int device = -1;
  (void)self;
  for (int at = FIRST_SUM; at < FIRST_WEIGHT; ++at) fresh[wanted++] = at;
  if (count_is(count, 2 + ARRAYS - FIRST_WEIGHT, "gradients") || size_given(given, &size)) return -1;
  if (!size.batch) return misfit("there are no samples to sum gradients over");
  if (take(&arrays[X], given, size, &device, &places[X])) return -1;
  if (take(&arrays[DY], given + 1, size, &device, &places[DY])) return -1;
  if (take_rest(given + 2, size, &device, places) || TVMFFIFunctionGetGlobal(&name, &pack)) return -1;
  int failed = compute(LAUNCHES, fresh, wanted, places, size, device, made);
  if (!failed) {
    for (int at = 0; at < wanted; ++at) held[at] = (TVMFFIAny){.type_index = kTVMFFITensor, .v_obj = made[at]};
    failed = TVMFFIFunctionCall(pack, held + 1, wanted - 1, result);
    for (int at = 0; at < wanted; ++at) TVMFFIObjectDecRef(made[at]);
  }
  TVMFFIObjectDecRef(pack);
  return failed;
}
#endif

/* Launches from `first` on given memory: a number of samples, or of sequences and of their steps, then the arrays that
   `which` lists. */
static int run_on(int first, int end, const int16_t* which, int wanted, const TVMFFIAny* given, int count,
                  const char* name) {
  Place places[ARRAYS];
  int device = -1, at = AXES - 1;
  for (int k = 0; k < at; ++k)
    if (count <= k || given[k].type_index != kTVMFFIInt)
      return misfit("`%s` takes a number of %s first", name, SEQUENCES ? "sequences and one of steps" : "samples");
  const Size size = {given[0].v_int64, SEQUENCES ? given[1].v_int64 : 1};
  if (check_size(size)) return -1;
  for (int k = 0; k < wanted; ++k) {
    if (which[k] < 0) continue;
    if (at >= count) return count_is(count, at + 1, name);
    if (take(&arrays[which[k]], &given[at++], size, &device, &places[which[k]])) return -1;
  }
  if (count_is(count, at, name) || enter(device)) return -1;
  return leave(launch_all(first, end, places, size, device));
}

EXPORT(run) {
  (void)self;
  *result = (TVMFFIAny){.type_index = kTVMFFINone};
  return run_on(0, FORWARD, run_arguments, sizeof run_arguments / sizeof *run_arguments, given, count, "run");
}

#define KERNEL(name, at)                                                                                 \
  EXPORT(name) {                                                                                         \
    (void)self;                                                                                          \
    *result = (TVMFFIAny){.type_index = kTVMFFINone};                                                    \
    return run_on(at, at + 1, launches[at].arguments, launches[at].count, given, count, #name);          \
  }
KERNELS

EXPORT(upload) {
  const DLTensor* array = count == 2 ? tensor(given) : NULL;
  TVMFFIObjectHandle made;
  (void)self;
  if (!array || array->device.device_type != kDLCPU || elements(array) < 0 || given[1].type_index != kTVMFFIInt)
    return misfit("`upload` takes a contiguous array of the host and the number of a GPU");
  if (enter((int)given[1].v_int64)) return -1;
  DLTensor prototype = *array;
  prototype.device = (DLDevice){kDLCUDA, (int)given[1].v_int64};
  if (make(&prototype, 0, &made)) return leave(-1);
  TVMFFIAny held = {.type_index = kTVMFFITensor, .v_obj = made};
  size_t size = (size_t)elements(array) * (array->dtype.bits / 8);
  int status = cu.cuMemcpyHtoD_v2((Place)tensor(&held)->data, (const char*)array->data + array->byte_offset, size);
  /* The copy may still be on its way, which streams of others do not wait for. */
  if (!status) status = cu.cuStreamSynchronize(NULL);
  if (status) {
    TVMFFIObjectDecRef(made);
    return leave(refused("cuMemcpyHtoD_v2", status));
  }
  *result = held;
  return leave(0);
}
