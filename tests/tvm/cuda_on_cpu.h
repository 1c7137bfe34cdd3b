// Executes CUDA kernels on the processor: a fiber for every thread of a block, one block after the other.
//
// Between barriers threads run one after the other in an order that the caller chooses, so that what is missing a
// barrier reads what has not been written yet: shared memory starts as NaN in every block. Barriers and exchanges in
// a warp must be reached by all threads; if not, the run ends with an error.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct Extent { int x, y, z; };
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct ushort2 { unsigned short x, y; };
struct ushort4 { unsigned short x, y, z, w; };
struct int2 { int x, y; };
struct int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline ushort2 make_ushort2(int x, int y) { return {(unsigned short)x, (unsigned short)y}; }
inline ushort4 make_ushort4(int x, int y, int z, int w) {
  return {(unsigned short)x, (unsigned short)y, (unsigned short)z, (unsigned short)w};
}
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline float __int_as_float(int bits) { float value; std::memcpy(&value, &bits, 4); return value; }
inline int __float_as_int(float value) { int bits; std::memcpy(&bits, &value, 4); return bits; }
template <class T> inline T min(T a, T b) { return a < b ? a : b; }
template <class T> inline T max(T a, T b) { return a > b ? a : b; }
using std::isnan;

namespace gpu {
enum class State { running, barrier, warp, done };
constexpr int kShared = 227 * 1024, kStack = 64 * 1024, kWarp = 32;
struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Extent index;
  State state;
  uint32_t given[4];
};
alignas(128) unsigned char shared[kShared];
std::vector<Thread> threads;
ucontext_t scheduler;
Thread* current;
Extent block_index, block_extent, grid_extent;
void (*body)(void**);
void** body_arguments;

inline void enter() {
  body(body_arguments);
  current->state = State::done;
  swapcontext(&current->context, &scheduler);
}
inline void wait(State state) {
  current->state = state;
  swapcontext(&current->context, &scheduler);
}
inline int lane() { return int(current - threads.data()) % kWarp; }
inline Thread& neighbour(int other) { return threads[(current - threads.data()) / kWarp * kWarp + other]; }
template <class T> inline T exchange(T value, int other) {
  std::memcpy(current->given, &value, sizeof value);
  wait(State::warp);
  T result;
  std::memcpy(&result, neighbour(other).given, sizeof result);
  wait(State::warp);
  return result;
}

// Errors: 1 a thread ended while others wait at a barrier, 2 a part of a warp waits for the rest of it.
inline int advance() {
  bool barrier = true, done = true;
  for (auto& t : threads) {
    barrier = barrier && t.state == State::barrier;
    done = done && t.state == State::done;
  }
  if (done) return 0;
  if (barrier) {
    for (auto& t : threads) t.state = State::running;
    return 0;
  }
  bool moved = false;
  for (size_t first = 0; first < threads.size(); first += kWarp) {
    size_t end = std::min(first + kWarp, threads.size()), waiting = 0;
    for (size_t i = first; i < end; i++) waiting += threads[i].state == State::warp;
    if (waiting == end - first) {
      for (size_t i = first; i < end; i++) threads[i].state = State::running;
      moved = true;
    } else if (waiting) {
      return 2;
    }
  }
  return moved ? 0 : 1;
}

inline int run_block(int order, std::mt19937& random) {
  std::memset(shared, 0xff, sizeof shared);
  for (auto& t : threads) {
    t.state = State::running;
    getcontext(&t.context);
    t.context.uc_stack.ss_sp = t.stack.get();
    t.context.uc_stack.ss_size = kStack;
    t.context.uc_link = nullptr;
    makecontext(&t.context, (void (*)())enter, 0);
  }
  std::vector<size_t> turn(threads.size());
  for (size_t i = 0; i < turn.size(); i++) turn[i] = order == 1 ? turn.size() - 1 - i : i;
  for (;;) {
    if (order >= 2) std::shuffle(turn.begin(), turn.end(), random);
    bool ran = false;
    for (size_t i : turn)
      if (threads[i].state == State::running) {
        ran = true;
        current = &threads[i];
        swapcontext(&scheduler, &current->context);
      }
    if (!ran) return 0;
    if (int error = advance()) return error;
  }
}

// order: 0 ascending, 1 descending, others random anew after every barrier.
inline int launch(void (*kernel)(void**), void** arguments, Extent grid, Extent block, int order) {
  body = kernel, body_arguments = arguments, grid_extent = grid, block_extent = block;
  std::mt19937 random(order);
  threads = std::vector<Thread>(size_t(block.x) * block.y * block.z);
  for (size_t i = 0; i < threads.size(); i++) {
    threads[i].index = {int(i % block.x), int(i / block.x % block.y), int(i / block.x / block.y)};
    threads[i].stack = std::make_unique<char[]>(kStack);
  }
  for (int z = 0; z < grid.z; z++)
    for (int y = 0; y < grid.y; y++)
      for (int x = 0; x < grid.x; x++) {
        block_index = {x, y, z};
        if (int error = run_block(order, random)) return error;
      }
  return 0;
}
}  // namespace gpu

#define threadIdx (gpu::current->index)
#define blockIdx gpu::block_index
#define blockDim gpu::block_extent
#define gridDim gpu::grid_extent
inline void __syncthreads() { gpu::wait(gpu::State::barrier); }
inline void __syncwarp() { gpu::wait(gpu::State::warp); }
template <class T> inline T __shfl_xor_sync(unsigned, T value, int mask) { return gpu::exchange(value, gpu::lane() ^ mask); }
template <class T> inline T __shfl_sync(unsigned, T value, int from) { return gpu::exchange(value, from); }
template <class T> inline T atomicAdd(T* place, T value) { T before = *place; *place += value; return before; }
