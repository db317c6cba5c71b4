{
  "variables": { "asan%": 0 },
  "targets": [
    {
      "target_name": "privmem",
      "conditions": [
        ["OS!='linux'", { "type": "none" }],
        ["OS=='linux'", {
          "sources": [
            "native/addon.cc",
            "native/calls.cc",
            "native/env_state.cc",
            "native/guard.cc",
            "native/ioctl.cc",
            "native/napi_util.cc",
            "native/registry.cc",
            "native/safe_copy.cc",
            "native/sys_copy.cc",
            "native/sys_fd.cc",
            "native/sys_memory.cc",
            "native/vcpu.cc",
            "native/vcpu_thread.cc",
            "native/view.cc"
          ],
          "include_dirs": ["<!@(node -p \"require('node-addon-api').include\")"],
          "defines": ["NAPI_VERSION=9", "NAPI_DISABLE_CPP_EXCEPTIONS", "_GNU_SOURCE", "_FILE_OFFSET_BITS=64"],
          "cflags": ["-O2", "-Wall", "-Wextra", "-fvisibility=hidden", "-pthread"],
          "cflags_cc": ["-std=c++17", "-fno-exceptions", "-fno-rtti"],
          "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-fexceptions"],
          "ldflags": ["-pthread", "-Wl,-z,nodelete"],
          "conditions": [
            ["asan==1", {
              "cflags": ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"],
              "ldflags": ["-fsanitize=address,undefined"]
            }]
          ]
        }]
      ]
    }
  ]
}
