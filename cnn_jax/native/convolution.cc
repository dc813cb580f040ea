// Direct convolution on CPU: windows are read where they lie, and no matrix is made of them.
//
// Images are n h w c, kernels kh kw c f, maps n h w f, all float32; the number of filters is a
// multiple of 8, a kernel has no holes. Neighboring channels and columns of a window lie side by
// side, so a window is kh runs of kw * c pixels. Sums stay in vector registers: of some pixels of a
// row and 8 to 32 filters in the forward pass (Georganas et al. 2018, "Anatomy of high-performance
// deep learning convolutions on SIMD architectures"), of some taps and filters, over all pixels of
// an image, in the kernel's gradient. Sums have the same order however many threads there are.

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;
using Taps = ffi::Span<const int64_t>;

#ifdef __AVX512F__
constexpr int kWidest = 16, kRegisters = 32;
#else
constexpr int kWidest = 8, kRegisters = 16;
#endif
constexpr int kNarrowest = 8;
constexpr int64_t kTogether = 2 * kWidest;
// Pixels of more channels than these lie so far apart that they share a few places of a cache; and
// the taps of one column are so many that it pays to pass over its padding.
constexpr int64_t kMostChannels = 64;
// Sums need registers besides those for what is added; more pixels than these run out of pointers.
constexpr int kSpare = 4, kMostPixels = 8;
// Images are summed in at most so many parts, together of at most so many sums.
constexpr int64_t kMostParts = 32, kMostSums = 1 << 20;

template <int W>
struct Lanes {
  typedef float Vec
      __attribute__((vector_size(W * sizeof(float)), aligned(sizeof(float)), may_alias));
};
template <int W>
using Vec = typename Lanes<W>::Vec;

template <int W>
Vec<W> load(const float* place) {
  return *reinterpret_cast<const Vec<W>*>(place);
}

template <int W>
void store(float* place, Vec<W> values) {
  *reinterpret_cast<Vec<W>*>(place) = values;
}

template <int N>
using Number = std::integral_constant<int, N>;

struct Range {
  int64_t first, last;
};

struct Axis {
  int64_t kernel, stride, low, inputs, outputs;

  // Pixels that all windows together span.
  int64_t reach() const { return (outputs - 1) * stride + kernel; }
  bool padded() const { return low > 0 || reach() > inputs; }
  // The taps of an output that are no padding, and the outputs that such a tap has.
  Range taps_inside(int64_t output) const {
    const int64_t first = low - output * stride;
    return {std::max<int64_t>(0, first), std::min(kernel, first + inputs)};
  }
  Range outputs_inside(int64_t tap) const {
    const int64_t before = std::max<int64_t>(0, low - tap), after = inputs + low - tap;
    const int64_t first = (before + stride - 1) / stride;
    return {first, after <= 0 ? first : std::min(outputs, (after + stride - 1) / stride)};
  }
};

struct Shape {
  Axis rows, columns;
  int64_t channels, filters;

  Shape(Taps taps, int64_t channels, int64_t filters)
      : rows{taps[0], taps[1], taps[2], taps[3], taps[4]},
        columns{taps[5], taps[6], taps[7], taps[8], taps[9]},
        channels(channels),
        filters(filters) {}

  int64_t image() const { return rows.inputs * columns.inputs * channels; }
  int64_t map() const { return rows.outputs * columns.outputs * filters; }
  int64_t run() const { return columns.kernel * channels; }
  int64_t kernel() const { return rows.kernel * run() * filters; }
};

// The windows of an image: its pixels with what is around them, and how far apart they lie.
struct Windows {
  const float* pixels;
  // From a row of pixels to the next one, from the window of an output to the next one's, and from
  // some channels of all pixels to the next ones.
  int64_t pitch, step, block;

  Windows from(int64_t row, int64_t offset) const {
    return {pixels + row * pitch + offset, pitch, step, block};
  }
};

// Where the windows of one image after the other are laid out, with zeros around it: all channels of
// a pixel together, or so many of all pixels, kNarrowest, behind each other.
class Room {
 public:
  Room(const Shape& s, int64_t channels)
      : s_(s),
        channels_(channels),
        as_it_is_(channels == s.channels && !s.rows.padded() && !s.columns.padded()),
        pitch_((as_it_is_ ? s.columns.inputs : s.columns.reach()) * channels),
        block_(s.rows.reach() * pitch_),
        pixels_(as_it_is_ ? 0 : s.channels / channels * block_) {}

  Windows windows(const float* image) {
    if (!as_it_is_) fill(image);
    return {as_it_is_ ? image : pixels_.data(), pitch_, s_.columns.stride * channels_, block_};
  }

 private:
  void fill(const float* image) {
    const int64_t rows = std::min(s_.rows.inputs, s_.rows.reach() - s_.rows.low);
    const int64_t columns = std::min(s_.columns.inputs, s_.columns.reach() - s_.columns.low);
    for (int64_t h = 0; h < rows; ++h) {
      const float* from = image + h * s_.columns.inputs * s_.channels;
      float* const row = pixels_.data() + (h + s_.rows.low) * pitch_ + s_.columns.low * channels_;
      if (channels_ == s_.channels) {
        std::copy_n(from, columns * channels_, row);
        continue;
      }
      for (int64_t w = 0; w < columns; ++w) {
        for (int64_t first = 0; first < s_.channels; first += channels_, from += channels_) {
          float* const to = row + first / channels_ * block_ + w * channels_;
          store<kNarrowest>(to, load<kNarrowest>(from));
        }
      }
    }
  }

  const Shape s_;
  const int64_t channels_;
  const bool as_it_is_;
  const int64_t pitch_, block_;
  std::vector<float> pixels_;
};

// Some columns of a matrix by themselves.
const float* columns_of(const float* matrix, int64_t rows, int64_t width, int64_t first,
                        int64_t count, std::vector<float>& room) {
  if (count == width) return matrix;
  room.resize(rows * count);
  float* place = room.data();
  for (int64_t row = 0; row < rows; ++row) {
    place = std::copy_n(matrix + row * width + first, count, place);
  }
  return room.data();
}

// Calls work(0) to work(parts - 1); this thread takes its share, so it never waits for one that has
// not begun.
template <class Work>
void parallel(ffi::ThreadPool& pool, int64_t parts, Work work) {
  struct Shared {
    std::atomic<int64_t> next{0};
    int64_t left;
    std::mutex mutex;
    std::condition_variable done;
  };
  auto shared = std::make_shared<Shared>();
  shared->left = parts;
  auto take = [shared, parts, work] {
    for (int64_t part; (part = shared->next++) < parts;) {
      work(part);
      std::lock_guard<std::mutex> guard(shared->mutex);
      if (--shared->left == 0) shared->done.notify_all();
    }
  };
  for (int64_t i = std::min<int64_t>(pool.num_threads(), parts); i > 1; --i) {
    pool.Schedule([take] { take(); });
  }
  take();
  std::unique_lock<std::mutex> guard(shared->mutex);
  shared->done.wait(guard, [&] { return shared->left == 0; });
}

// Calls take(lanes, vectors, first) for the widest groups of lanes * vectors filters that fit.
template <class Take>
void by_filters(int64_t filters, Take take) {
  int64_t first = 0;
  for (; first + kTogether <= filters; first += kTogether) {
    take(Number<kWidest>(), Number<2>(), first);
  }
  for (; first + kWidest <= filters; first += kWidest) take(Number<kWidest>(), Number<1>(), first);
  for (; first < filters; first += kNarrowest) take(Number<kNarrowest>(), Number<1>(), first);
}

// Adds so many neighboring taps of W * V filters at the pixels from First to Last - 1.
template <int W, int V, int P, int First, int Last>
const float* add_run(const float* pixels, int64_t step, int64_t taps, const float* kernel,
                     Vec<W> (&sums)[P][V]) {
  for (int64_t k = 0; k < taps; ++k, kernel += W * V) {
    for (int v = 0; v < V; ++v) {
      const Vec<W> weights = load<W>(kernel + v * W);
      for (int p = First; p < Last; ++p) sums[p][v] += pixels[p * step + k] * weights;
    }
  }
  return kernel;
}

// W * V filters at P pixels of a row that begin at an output, of these rows of the kernel.
template <int W, int V, int P>
void tile(const Windows& x, const Shape& s, Range rows, int64_t output, const float* kernel,
          float* out) {
  Vec<W> sums[P][V] = {};
  const Range first = s.columns.taps_inside(output), last = s.columns.taps_inside(output + P - 1);
  kernel += rows.first * s.run() * W * V;
  for (int64_t i = rows.first; i < rows.last; ++i) {
    const float* pixels = x.pixels + i * x.pitch;
    if (s.channels <= kMostChannels) {
      kernel = add_run<W, V, P, 0, P>(pixels, x.step, s.run(), kernel, sums);
      continue;
    }
    for (int64_t j = 0; j < s.columns.kernel; ++j, pixels += s.channels) {
      if (P > 1 && j < first.first) {
        kernel = add_run<W, V, P, P == 1 ? 0 : 1, P>(pixels, x.step, s.channels, kernel, sums);
      } else if (P > 1 && j >= last.last) {
        kernel = add_run<W, V, P, 0, P == 1 ? 1 : P - 1>(pixels, x.step, s.channels, kernel, sums);
      } else {
        kernel = add_run<W, V, P, 0, P>(pixels, x.step, s.channels, kernel, sums);
      }
    }
  }
  for (int p = 0; p < P; ++p) {
    for (int v = 0; v < V; ++v) store<W>(out + p * s.filters + v * W, sums[p][v]);
  }
}

using Tile = void (*)(const Windows&, const Shape&, Range, int64_t, const float*, float*);

template <int W, int V, int... P>
constexpr std::array<Tile, sizeof...(P)> tiles(std::integer_sequence<int, P...>) {
  return {tile<W, V, P + 1>...};
}

// W * V filters of one image.
template <int W, int V>
void map(const Windows& x, const Shape& s, const float* kernel, float* out) {
  constexpr int kMost = std::min(kMostPixels, (kRegisters - kSpare) / V);
  static constexpr auto kTiles = tiles<W, V>(std::make_integer_sequence<int, kMost>());
  const int64_t width = s.columns.outputs, count = (width + kMost - 1) / kMost;
  for (int64_t h = 0; h < s.rows.outputs; ++h) {
    const Range rows = s.rows.taps_inside(h);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t first = width * i / count, last = width * (i + 1) / count;
      kTiles[last - first - 1](x.from(h * s.rows.stride, first * x.step), s, rows, first, kernel,
                               out + (h * width + first) * s.filters);
    }
  }
}

// Adds what these outputs of one image say of W * V filters at C neighboring taps; errors and sums
// are of `width` filters, these among them.
template <int W, int V, int C>
void add_taps(const Windows& x, const Shape& s, Range rows, Range columns, const float* errors,
              int64_t width, float* sums) {
  Vec<W> totals[C][V];
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V; ++v) totals[c][v] = load<W>(sums + c * width + v * W);
  }
  for (int64_t h = rows.first; h < rows.last; ++h) {
    const float* pixels = x.pixels + h * s.rows.stride * x.pitch + columns.first * x.step;
    const float* place = errors + (h * s.columns.outputs + columns.first) * width;
    for (int64_t t = columns.first; t < columns.last; ++t, pixels += x.step, place += width) {
      for (int v = 0; v < V; ++v) {
        const Vec<W> error = load<W>(place + v * W);
        for (int c = 0; c < C; ++c) totals[c][v] += pixels[c] * error;
      }
    }
  }
  for (int c = 0; c < C; ++c) {
    for (int v = 0; v < V; ++v) store<W>(sums + c * width + v * W, totals[c][v]);
  }
}

// The same at all taps; so many channels of all pixels lie behind each other.
template <int W, int V>
void add_image(const Windows& x, const Shape& s, int64_t channels, const float* errors,
               int64_t width, float* sums) {
  const int64_t run = s.columns.kernel * channels;
  const Range all{0, s.columns.outputs};
  for (int64_t first = 0; first < s.channels; first += channels) {
    for (int64_t i = 0; i < s.rows.kernel; ++i) {
      const Range rows = s.rows.outputs_inside(i);
      int64_t k = 0;
      auto take = [&](auto count) {
        constexpr int C = count();
        if constexpr (C * V <= kRegisters / 2) {
          if (channels < s.channels && channels % C != 0) return;
          for (; k + C <= run; k += C) {
            const int64_t j = k / channels;
            const int64_t tap = (i * s.columns.kernel + j) * s.channels + first + k % channels;
            const Range columns = channels < s.channels ? s.columns.outputs_inside(j) : all;
            add_taps<W, V, C>(x.from(i, first / channels * x.block + k), s, rows, columns, errors,
                              width, sums + tap * width);
          }
        }
      };
      take(Number<16>());
      take(Number<8>());
      take(Number<4>());
      take(Number<2>());
      take(Number<1>());
    }
  }
}

ffi::Error maps(ffi::ThreadPool pool, Array images, Array kernel, Result out, Taps taps) {
  const Shape s(taps, images.dimensions()[3], kernel.dimensions()[3]);
  const float *x = images.typed_data(), *weights = kernel.typed_data();
  float* const y = out->typed_data();
  const int64_t taps_each = s.rows.kernel * s.run();
  std::vector<float> packed(s.kernel());
  by_filters(s.filters, [&](auto lanes, auto vectors, int64_t f) {
    float* place = packed.data() + f * taps_each;
    for (int64_t k = 0; k < taps_each; ++k) {
      place = std::copy_n(weights + k * s.filters + f, lanes() * vectors(), place);
    }
  });
  const float* const kernels = packed.data();
  const int64_t examples = images.dimensions()[0], parts = std::min(examples, kMostParts);
  parallel(pool, parts, [=](int64_t part) {
    Room room(s, s.channels);
    for (int64_t n = examples * part / parts; n < examples * (part + 1) / parts; ++n) {
      const Windows image = room.windows(x + n * s.image());
      by_filters(s.filters, [&](auto lanes, auto vectors, int64_t f) {
        map<lanes(), vectors()>(image, s, kernels + f * taps_each, y + n * s.map() + f);
      });
    }
  });
  return ffi::Error::Success();
}

ffi::Error kernel_gradient(ffi::ThreadPool pool, Array images, Array errors, Result out,
                           Taps numbers) {
  const Shape s(numbers, images.dimensions()[3], errors.dimensions()[3]);
  const float *x = images.typed_data(), *dy = errors.typed_data();
  const int64_t examples = images.dimensions()[0], taps = s.rows.kernel * s.run();
  const int64_t parts =
      std::max<int64_t>(1, std::min({examples, kMostParts, kMostSums / s.kernel()}));
  const int64_t groups = (s.filters + kTogether - 1) / kTogether;
  const int64_t channels =
      s.channels > kMostChannels && s.channels % kNarrowest == 0 ? kNarrowest : s.channels;
  // Of each group its taps, and of each tap the group's filters.
  std::vector<float> sums(parts * s.kernel());
  float* const all = sums.data();
  parallel(pool, parts * groups, [=](int64_t item) {
    const int64_t part = item / groups, first = item % groups * kTogether;
    const int64_t width = std::min(kTogether, s.filters - first);
    Room room(s, channels);
    std::vector<float> packed;
    for (int64_t n = examples * part / parts; n < examples * (part + 1) / parts; ++n) {
      const Windows image = room.windows(x + n * s.image());
      const float* const error =
          columns_of(dy + n * s.map(), s.map() / s.filters, s.filters, first, width, packed);
      by_filters(width, [&](auto lanes, auto vectors, int64_t f) {
        add_image<lanes(), vectors()>(image, s, channels, error + f, width,
                                      all + part * s.kernel() + first * taps + f);
      });
    }
  });
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t k = 0; k < s.kernel(); ++k) all[k] += all[part * s.kernel() + k];
  }
  float* const result = out->typed_data();
  for (int64_t first = 0; first < s.filters; first += kTogether) {
    const int64_t width = std::min(kTogether, s.filters - first);
    for (int64_t tap = 0; tap < taps; ++tap) {
      std::copy_n(all + first * taps + tap * width, width, result + tap * s.filters + first);
    }
  }
  return ffi::Error::Success();
}

// What both are given, and give.
auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Array>()
      .Arg<Array>()
      .Ret<Array>()
      .Attr<Taps>("taps");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_maps, maps, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(cnn_jax_kernel_gradient, kernel_gradient, binding());
