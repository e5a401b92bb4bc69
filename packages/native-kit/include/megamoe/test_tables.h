// For tests of tables of functions: can an entry take what belongs to another?
#pragma once

#include <cstddef>
#include <type_traits>

namespace megamoe::test {

template <class... Functions>
struct Entries {};

template <class Entry, class... Functions>
constexpr std::size_t assignableTo() {
  return (std::size_t{std::is_assignable_v<Entry&, Functions>} + ... + 0);
}

// Pairs (entry, function) of a list for which `entry = function` compiles; as many as entries where each takes its own
// alone.
template <class... Functions>
constexpr std::size_t assignablePairs(Entries<Functions...>) {
  return (assignableTo<Functions, Functions...>() + ... + 0);
}

// The types of a table's members, as taken from it by a structured binding: a member more or less does not compile.
template <class... Members>
constexpr Entries<Members...> typesOf(const Members&...) {
  return {};
}

}  // namespace megamoe::test
