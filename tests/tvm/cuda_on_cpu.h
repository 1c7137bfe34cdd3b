// Executes CUDA kernels on the processor: a fiber for every thread of a block, one block after the other.
//
// Between barriers threads run one after the other in an order that the caller chooses, so that what is missing a
// barrier reads what has not been written yet: shared memory starts as NaN in every block. Barriers and exchanges in
// a warp must be reached by all threads; if not, the run ends with an error. Asynchronous copies arrive as late as they
// may, when they are waited for, and in every second order as early as they may.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cassert>
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
#define __align__(bytes) __attribute__((aligned(bytes)))

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
struct Copy { float* to; const float* from; };
struct Thread {
  std::vector<Copy> open, ended;
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Extent index;
  State state;
  uint32_t given[6];
};
alignas(128) unsigned char shared[kShared];
std::vector<Thread> threads;
ucontext_t scheduler;
bool early;
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
    t.open.clear(), t.ended.clear();
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
  early = order & 1;
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
inline void copy_16(float* to, const float* from) {
  assert(!(uintptr_t(to) % 16) && !(uintptr_t(from) % 16));
  if (gpu::early) std::memcpy(to, from, 16);
  gpu::current->open.push_back({to, from});
}
inline void copies_end() {
  auto& t = *gpu::current;
  t.ended.insert(t.ended.end(), t.open.begin(), t.open.end());
  t.open.clear();
}
inline void copies_wait() {
  for (auto& copy : gpu::current->ended) std::memcpy(copy.to, copy.from, 16);
  gpu::current->ended.clear();
}
template <class T> inline T __shfl_xor_sync(unsigned, T value, int mask) { return gpu::exchange(value, gpu::lane() ^ mask); }
template <class T> inline T __shfl_sync(unsigned, T value, int from) { return gpu::exchange(value, from); }
inline uint32_t bits_of(float value) { return uint32_t(__float_as_int(value)); }
inline float float_of(uint32_t bits) { return __int_as_float(int(bits)); }
inline uint32_t rounded_tf32(float v) { return std::isfinite(v) ? (bits_of(v) + 0x1000u) & ~0x1fffu : bits_of(v); }
inline uint32_t to_bf16(float v) {
  uint32_t bits = bits_of(v);
  return std::isnan(v) ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
inline uint32_t to_fp16(float v) {
  uint32_t sign = bits_of(v) >> 16 & 0x8000u;
  float size = std::fabs(v);
  if (std::isnan(v)) return 0x7fffu;
  if (size >= 65520.0f) return sign | 0x7c00u;
  int exponent = size < 0x1p-14f ? -14 : std::ilogb(size);
  uint32_t steps = uint32_t(std::nearbyint(std::ldexp(size, 10 - exponent)));
  return sign | (uint32_t(exponent + 14) * 0x400u + steps);
}
inline float from_fp16(uint32_t h) {
  uint32_t exponent = h >> 10 & 31, steps = h & 0x3ffu;
  float size = exponent == 31 ? (steps ? NAN : INFINITY)
               : exponent ? std::ldexp(float(steps + 0x400u), int(exponent) - 25) : std::ldexp(float(steps), -24);
  return h & 0x8000u ? -size : size;
}
inline uint32_t rounded_bf16(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }
inline uint32_t rounded_fp16(float low, float high) { return to_fp16(low) | to_fp16(high) << 16; }

// A product of 16 x depth and depth x 8 numbers whose fragments the threads of a warp hold as the PTX ISA says.
template <class Element> inline void multiply(float* c, const uint32_t* a, const uint32_t* b, int depth, Element element) {
  std::memcpy(gpu::current->given, a, 16);
  std::memcpy(gpu::current->given + 4, b, 8);
  gpu::wait(gpu::State::warp);
  int group = gpu::lane() >> 2, place = gpu::lane() & 3;
  for (int e = 0; e < 4; e++) {
    int row = group + (e >> 1) * 8, column = place * 2 + (e & 1);
    double sum = c[e];
    for (int k = 0; k < depth; k++) {
      int holder = k % (depth / 2) * 8 / depth, half = depth == 16 ? k & 1 : depth == 32 ? k & 3 : 0, upper = k / (depth / 2);
      uint32_t left = gpu::neighbour(row % 8 * 4 + holder).given[row / 8 + 2 * upper];
      uint32_t right = gpu::neighbour(column * 4 + holder).given[4 + upper];
      sum += double(element(left, half)) * element(right, half);
    }
    c[e] = float(sum);
  }
  gpu::wait(gpu::State::warp);
}
inline void mma_tf32(float* c, const uint32_t* a, const uint32_t* b) {
  multiply(c, a, b, 8, [](uint32_t word, int) { return float_of(word); });
}
inline void mma_bf16(float* c, const uint32_t* a, const uint32_t* b) {
  multiply(c, a, b, 16, [](uint32_t word, int half) { return float_of(half ? word & 0xffff0000u : word << 16); });
}
inline void mma_fp16(float* c, const uint32_t* a, const uint32_t* b) {
  multiply(c, a, b, 16, [](uint32_t word, int half) { return from_fp16(half ? word >> 16 : word & 0xffffu); });
}
inline uint32_t to_fp8(float v) {
  uint32_t sign = bits_of(v) >> 24 & 0x80u;
  float size = std::fabs(v);
  if (std::isnan(v)) return 0x7fu;
  if (size >= 448.0f) return sign | 0x7eu;
  int exponent = size < 0x1p-6f ? -6 : std::ilogb(size);
  uint32_t steps = uint32_t(std::nearbyint(std::ldexp(size, 3 - exponent)));
  return sign | (uint32_t(exponent + 6) * 8u + steps);
}
inline float from_fp8(uint32_t byte) {
  uint32_t exponent = byte >> 3 & 15, steps = byte & 7;
  float size = exponent == 15 && steps == 7 ? NAN
               : exponent ? std::ldexp(float(steps + 8), int(exponent) - 10) : std::ldexp(float(steps), -9);
  return byte & 0x80u ? -size : size;
}
inline uint32_t rounded_fp8(float a, float b, float c, float d) {
  return to_fp8(a) | to_fp8(b) << 8 | to_fp8(c) << 16 | to_fp8(d) << 24;
}
inline void mma_fp8(float* c, const uint32_t* a, const uint32_t* b) {
  multiply(c, a, b, 32, [](uint32_t word, int byte) { return from_fp8(word >> (8 * byte) & 255u); });
}
// Sums of 32 bits of products s8 x u8 of bytes, four in a word.
inline void multiply_bytes(int* c, const uint32_t* a, const uint32_t* b, int depth) {
  std::memcpy(gpu::current->given, a, depth / 2);
  std::memcpy(gpu::current->given + 4, b, depth / 4);
  gpu::wait(gpu::State::warp);
  int group = gpu::lane() >> 2, place = gpu::lane() & 3;
  for (int e = 0; e < 4; e++) {
    int row = group + (e >> 1) * 8, column = place * 2 + (e & 1);
    for (int k = 0; k < depth; k++) {
      int holder = k % 16 / 4, upper = k / 16, shift = k % 4 * 8;
      uint32_t left = gpu::neighbour(row % 8 * 4 + holder).given[row / 8 + 2 * upper];
      uint32_t right = gpu::neighbour(column * 4 + holder).given[4 + upper];
      c[e] += int(int8_t(left >> shift)) * int(right >> shift & 255u);
    }
  }
  gpu::wait(gpu::State::warp);
}
inline void mma_32(int* c, const uint32_t* a, const uint32_t* b) { multiply_bytes(c, a, b, 32); }
inline void mma_16(int* c, const uint32_t* a, const uint32_t* b) { multiply_bytes(c, a, b, 16); }
inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t selector) {
  uint64_t bytes = uint64_t(high) << 32 | low;
  uint32_t found = 0;
  for (int k = 0; k < 4; k++) found |= uint32_t(bytes >> ((selector >> (4 * k) & 7) * 8) & 255u) << (8 * k);
  return found;
}
template <class T> inline T atomicAdd(T* place, T value) { T before = *place; *place += value; return before; }
