// What the addons with kernels for several instruction sets have in common: what they export, and how their functions
// begin. Table has a member `isa`; tables come best first (isa.h).
#pragma once

#include <megamoe/cpu_features.h>
#include <megamoe/napi_args.h>
#include <megamoe/out_of_memory.h>
#include <megamoe/thread_pool.h>

#include <string>
#include <type_traits>
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

// Throws a JavaScript error, without a C++ exception.
inline void throwPlainly(napi_env env, const char* text) { napi_throw_error(env, "ERR_OUT_OF_MEMORY", text); }

// exports.interfaceVersion, the names of the tables (isas), the one that `auto` means (isa) and cpuFeatures. False,
// with a JavaScript error thrown, where there is so little memory that no exception could be thrown later.
template <class Table>
bool exportTables(Napi::Object exports, int interfaceVersion, const std::vector<Table>& (*tablesOf)()) {
  if (!canThrow()) {
    throwPlainly(exports.Env(), "out of memory");
    return false;
  }
  const std::vector<Table>& tables = tablesOf();
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
  return true;
}

// Calls a function of an addon; memory that the system refuses becomes an error that names the function and the amount.
template <auto function>
auto withMemoryErrors(const Napi::CallbackInfo& info) -> decltype(function(info)) {
  try {
    return function(info);
  } catch (const std::bad_alloc& error) {
    char text[160];
    outOfMemoryText(text, sizeof text, static_cast<const char*>(info.Data()), error);
    throwPlainly(info.Env(), text);
  }
  if constexpr (!std::is_void_v<decltype(function(info))>) return {};
}

// `name` is kept: a literal.
template <auto function>
void exportFunction(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<withMemoryErrors<function>>(exports.Env(), name, const_cast<char*>(name)));
}

}  // namespace megamoe
