#include "tests/emulation/kernel_symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <map>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace switchyard::emulation {
namespace {

struct Range {
  size_t offset;  // from the module's base, or from its thread-local block
  size_t bytes;
  bool thread_local_storage;
};

struct Kernel {
  std::string mangled;
  std::vector<Range> shared;
};

// The executable itself; kernels are linked into it statically.
struct Module {
  char* base = nullptr;
  char* thread_local_block = nullptr;  // the calling OS thread's
};

Module FindModule() {
  Module module;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        *static_cast<Module*>(out) = {reinterpret_cast<char*>(info->dlpi_addr),
                                      static_cast<char*>(info->dlpi_tls_data)};
        return 1;  // the executable comes first
      },
      &module);
  return module;
}

class KernelSymbols {
 public:
  KernelSymbols() {
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    struct stat status = {};
    if (fstat(file, &status) == 0) {
      const size_t bytes = static_cast<size_t>(status.st_size);
      void* image = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
      if (image != MAP_FAILED) {
        Read(static_cast<const char*>(image));
        munmap(image, bytes);
      }
    }
    close(file);
  }

  const Kernel* Find(const void* kernel, const Module& module) const {
    const auto found = kernels_.find(static_cast<size_t>(static_cast<const char*>(kernel) - module.base));
    return found == kernels_.end() ? nullptr : &found->second;
  }
  // Every thread-local variable in a function of the kernels' namespace.
  const std::vector<Range>& all_thread_local() const { return all_thread_local_; }

 private:
  void Read(const char* image) {
    const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(image);
    const auto* sections = reinterpret_cast<const Elf64_Shdr*>(image + header.e_shoff);
    for (int s = 0; s < header.e_shnum; ++s) {
      if (sections[s].sh_type != SHT_SYMTAB) continue;
      const auto* symbols = reinterpret_cast<const Elf64_Sym*>(image + sections[s].sh_offset);
      const size_t num_symbols = sections[s].sh_size / sizeof(Elf64_Sym);
      const char* names = image + sections[sections[s].sh_link].sh_offset;
      // A function is _Z<encoding>, a static variable in it _ZZ<encoding>E<name>: the functions that have some, in
      // order of their encodings, then each variable to the longest encoding that begins it.
      std::map<std::string_view, Kernel*> by_encoding;
      for (size_t i = 0; i < num_symbols; ++i) {
        const std::string_view name = names + symbols[i].st_name;
        if (ELF64_ST_TYPE(symbols[i].st_info) != STT_FUNC || !name.starts_with("_ZN10switchyard")) continue;
        Kernel& kernel = kernels_[symbols[i].st_value];
        kernel.mangled = name;
        by_encoding[name.substr(2)] = &kernel;
      }
      for (size_t i = 0; i < num_symbols; ++i) {
        const std::string_view name = names + symbols[i].st_name;
        const int type = ELF64_ST_TYPE(symbols[i].st_info);
        if (!name.starts_with("_ZZN10switchyard") || symbols[i].st_shndx >= header.e_shnum) continue;
        const bool writable = (sections[symbols[i].st_shndx].sh_flags & SHF_WRITE) != 0;
        if (!writable || (type != STT_TLS && type != STT_OBJECT)) continue;
        const Range range = {symbols[i].st_value, symbols[i].st_size, type == STT_TLS};
        if (type == STT_TLS && name.starts_with("_ZZN10switchyard4cuda")) all_thread_local_.push_back(range);
        const std::string_view variable = name.substr(3);
        for (size_t end = variable.find('E'); end != variable.npos; end = variable.find('E', end + 1)) {
          const auto found = by_encoding.find(variable.substr(0, end));
          if (found == by_encoding.end()) continue;
          found->second->shared.push_back(range);
        }
      }
    }
  }

  std::vector<Range> all_thread_local_;
  std::unordered_map<size_t, Kernel> kernels_;  // by offset of the function from the module's base
};

const KernelSymbols& Symbols() {
  static const KernelSymbols symbols;
  return symbols;
}

// Not memset: a variable's symbol includes the red zone that AddressSanitizer put behind it.
__attribute__((no_sanitize("address"))) void FillWithOnes(char* begin, size_t bytes) {
  auto* words = reinterpret_cast<volatile uint64_t*>(begin);
  size_t i = 0;
  if (reinterpret_cast<uintptr_t>(begin) % sizeof(uint64_t) == 0) {
    for (; i + sizeof(uint64_t) <= bytes; i += sizeof(uint64_t)) words[i / sizeof(uint64_t)] = ~uint64_t{0};
  }
  for (; i < bytes; ++i) static_cast<volatile char*>(begin)[i] = static_cast<char>(0xFF);
}

}  // namespace

std::string Describe(const KernelLaunch& launch) {
  std::string text = "a kernel";
  if (const Kernel* kernel = Symbols().Find(launch.kernel, FindModule())) {
    int status = 0;
    char* demangled = abi::__cxa_demangle(kernel->mangled.c_str(), nullptr, nullptr, &status);
    text = demangled != nullptr ? demangled : kernel->mangled;
    std::free(demangled);
  }
  return text + ", launched in " + launch.where.file_name() + ":" + std::to_string(launch.where.line());
}

StaticSharedMemory::StaticSharedMemory(const void* kernel) {
  const Module module = FindModule();
  if (module.thread_local_block != nullptr) {
    for (const Range& range : Symbols().all_thread_local()) {
      FillWithOnes(module.thread_local_block + range.offset, range.bytes);
    }
  }
  const Kernel* found = Symbols().Find(kernel, module);
  if (found == nullptr) return;
  for (const Range& range : found->shared) {
    char* base = range.thread_local_storage ? module.thread_local_block : module.base;
    if (base != nullptr) variables_.emplace_back(base + range.offset, range.bytes);
  }
}

void StaticSharedMemory::Poison() const {
  for (const std::span<char> variable : variables_) FillWithOnes(variable.data(), variable.size());
}

}  // namespace switchyard::emulation
