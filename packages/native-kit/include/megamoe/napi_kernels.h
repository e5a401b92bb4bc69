// What the addons with kernels for several instruction sets have in common: what they export, and how their functions
// begin. Table has a member `isa`; tables come best first (isa.h).
#pragma once

#include <megamoe/cpu_features.h>
#include <megamoe/napi_args.h>
#include <megamoe/thread_pool.h>

#include <string>
#include <vector>

namespace megamoe {

// Argument i: the number of a table.
template <class Table>
const Table& tableArgument(const NapiArgs& args, std::size_t i, const std::vector<Table>& tables) {
  return tables[static_cast<std::size_t>(args.integer(i, "isa", 0, static_cast<std::int64_t>(tables.size()) - 1))];
}

// Argument i: how many threads.
inline int threadsArgument(const NapiArgs& args, std::size_t i) {
  return static_cast<int>(args.integer(i, "threads", 1, ThreadPool::kMaxThreads));
}

// A call `name(isa, threads, ...)`.
template <class Table>
class KernelCall : public NapiArgs {
 public:
  KernelCall(const Napi::CallbackInfo& info, const char* name, std::size_t count, const std::vector<Table>& tables)
      : NapiArgs(info, name, count), table(tableArgument(*this, 0, tables)), threads(threadsArgument(*this, 1)) {}

  const Table& table;
  const int threads;
};

// exports.interfaceVersion, the names of the tables (isas), the one that `auto` means (isa) and cpuFeatures.
template <class Table>
void exportTables(Napi::Object exports, int interfaceVersion, const std::vector<Table>& tables) {
  const auto names = [&](const std::vector<std::string>& list) {
    Napi::Array out = Napi::Array::New(exports.Env(), list.size());
    for (std::size_t i = 0; i < list.size(); i++) out.Set(static_cast<std::uint32_t>(i), list[i]);
    return out;
  };
  std::vector<std::string> isas;
  for (const Table& table : tables) isas.emplace_back(table.isa);
  exports.Set("interfaceVersion", interfaceVersion);
  exports.Set("isas", names(isas));
  exports.Set("isa", isas.front());
  exports.Set("cpuFeatures", names(cpuFeatureNames()));
}

template <auto function>
void exportFunction(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<function>(exports.Env(), name));
}

}  // namespace megamoe
