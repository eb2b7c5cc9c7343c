// Shared libraries that are looked for at run time.
#pragma once

#include <dlfcn.h>

#include <initializer_list>
#include <string>

namespace ftt::cuda {

// Never closed: what it handed out may be used until the program ends.
class Library {
 public:
  // The first of these that the loader, or the toolkit's usual folder, has.
  explicit Library(std::initializer_list<const char*> names) {
    for (const char* name : names) {
      for (const char* folder : {"", "/usr/local/cuda/lib64/", "/usr/local/cuda/lib/"}) {
        handle_ = dlopen((std::string(folder) + name).c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle_ != nullptr) return;
      }
    }
    missing_ = std::string(*names.begin()) + " is not on this machine";
  }
  template <typename Function>
  void Find(const char* name, Function** function) {
    *function = handle_ == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(handle_, name));
    if (*function == nullptr && missing_.empty()) missing_ = std::string(name) + " is not in it";
  }
  // Empty where everything was found.
  const std::string& Missing() const { return missing_; }

 private:
  void* handle_ = nullptr;
  std::string missing_;
};

}  // namespace ftt::cuda
