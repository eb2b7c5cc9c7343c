#include "core/digest.h"

#include <openssl/evp.h>

#include <fstream>
#include <vector>

#include "core/error.h"

namespace ftt {

struct Digest::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Digest::Digest(DigestKind kind) : state_(std::make_unique<State>()) {
  const EVP_MD* algorithm = kind == DigestKind::kMd5 ? EVP_md5() : EVP_sha256();
  FTT_CHECK(
      state_->context != nullptr && EVP_DigestInit_ex(state_->context, algorithm, nullptr) == 1,
      "the OpenSSL library offers no {} here", kind == DigestKind::kMd5 ? "MD5" : "SHA-256");
}

Digest::~Digest() = default;

void Digest::Update(std::string_view bytes) {
  FTT_CHECK(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1,
            "the OpenSSL library failed to update a checksum");
}

std::string Digest::Finish() {
  unsigned char value[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  FTT_CHECK(EVP_DigestFinal_ex(state_->context, value, &length) == 1,
            "the OpenSSL library failed to finish a checksum");
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", value[i]);
  return text;
}

std::string Md5Hex(std::string_view bytes) {
  Digest digest(DigestKind::kMd5);
  digest.Update(bytes);
  return digest.Finish();
}

std::string Sha256Hex(std::string_view bytes) {
  Digest digest(DigestKind::kSha256);
  digest.Update(bytes);
  return digest.Finish();
}

std::string FileDigest(const std::string& path, DigestKind kind) {
  std::ifstream file(path, std::ios::binary);
  FTT_CHECK(file.is_open(), "cannot open {}", path);
  Digest digest(kind);
  std::vector<char> buffer(1 << 20);
  while (file) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    digest.Update({buffer.data(), static_cast<size_t>(file.gcount())});
  }
  FTT_CHECK(!file.bad(), "cannot read {}", path);
  return digest.Finish();
}

}  // namespace ftt
