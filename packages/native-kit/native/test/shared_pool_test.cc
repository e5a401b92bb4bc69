// Two addons, each with a C++ runtime of its own, in one process: one pool. CMakeLists.txt says where the files are:
// POOL_FUTURE is an addon of another version, POOL_FIRST and POOL_SECOND are copies of pool_user.cc. Linux only.
#include <megamoe/test.h>

#include <dirent.h>
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Addon {
  explicit Addon(const char* file) : handle(dlopen(file, RTLD_LAZY | RTLD_LOCAL)) {
    if (handle == nullptr) throw std::runtime_error(dlerror());
  }

  template <class F>
  F* get(const char* name) const {
    return reinterpret_cast<F*>(dlsym(handle, name));
  }
  const void* used() const { return get<const void*()>("usedPool")(); }
  const void* own() const { return get<const void*()>("ownPool")(); }
  std::set<long> meet(int threads) const {
    std::vector<long> ids(static_cast<std::size_t>(threads));
    get<void(int, long*)>("meet")(threads, ids.data());
    return {ids.begin(), ids.end()};
  }

  void* handle;
};

int threadsOfProcess() {
  int count = 0;
  DIR* const dir = opendir("/proc/self/task");
  while (const dirent* entry = readdir(dir)) count += entry->d_name[0] != '.';
  closedir(dir);
  return count;
}

void onePoolForBoth() {
  const Addon other(POOL_FUTURE);
  const Addon first(POOL_FIRST), second(POOL_SECOND);
  const int before = threadsOfProcess();
  const std::set<long> ids = first.meet(4);
  CHECK(ids.size() == 4);
  CHECK(threadsOfProcess() == before + 3);
  CHECK(second.meet(4) == ids);
  CHECK(threadsOfProcess() == before + 3);
  CHECK(first.own() != second.own());
  CHECK(first.used() == first.own());
  CHECK(second.used() == first.own());
  for (const Addon* addon : {&first, &second}) {
    CHECK(addon->get<int()>("throws")() == 1);
    CHECK(addon->get<int()>("nests")() == 1);
  }
  dlclose(first.handle);  // as Node does when the last environment ends: nothing is unmapped
  CHECK(second.meet(4) == ids);
}

// Addons that are loaded and used at the same time, in a process of their own.
void bothAtOnce() {
  for (int repeat = 0; repeat < 20; repeat++) {
    const pid_t child = fork();
    if (child == 0) {
      const void* used[2] = {};
      int id = 0;
      std::vector<std::thread> users;
      for (const char* file : {POOL_FIRST, POOL_SECOND}) {
        users.emplace_back([file, at = &used[id++]] {
          const Addon addon(file);
          *at = addon.meet(3).size() == 3 ? addon.used() : nullptr;
        });
      }
      for (std::thread& user : users) user.join();
      _exit(used[0] != nullptr && used[0] == used[1] ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0);
  }
}

}  // namespace

int main() {
  bothAtOnce();
  onePoolForBoth();
  return megamoe::test::finish();
}
