#include "core/error.h"

namespace ftt {

void ThrowError(std::string message) { throw Error(message); }

}  // namespace ftt
