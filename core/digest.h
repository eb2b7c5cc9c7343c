// Checksums, as lower-case hexadecimal text.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace ftt {

enum class DigestKind { kMd5, kSha256 };

// A checksum fed piece by piece.
class Digest {
 public:
  explicit Digest(DigestKind kind);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;

  void Update(std::string_view bytes);
  // 32 (MD5) or 64 (SHA-256) characters; ends the digest.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string Md5Hex(std::string_view bytes);
std::string Sha256Hex(std::string_view bytes);

// Checksum of a file's content. Throws when it cannot be read.
std::string FileDigest(const std::string& path, DigestKind kind);

}  // namespace ftt
