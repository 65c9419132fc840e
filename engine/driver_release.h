// The release of the NVIDIA driver: CUDA tells only which CUDA it supports.
#pragma once

#include <string>

namespace switchyard {

// "580.95.05" from the text of /proc/driver/nvidia/version; empty where it names none.
std::string ParseDriverRelease(const std::string& text);
// Of this machine; "unknown" where the file is missing, in containers for example.
std::string DriverRelease();

}  // namespace switchyard
