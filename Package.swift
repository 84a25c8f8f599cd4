// swift-tools-version: 6.2
import PackageDescription

/// Whether another package depends on this one, for MartletClient: then its targets may have no unsafe flags.
let isDependency = Context.packageDirectory.contains("/checkouts/")

/// Every target: Swift 6 language mode, warnings are errors, imports of a file say all that it uses. In release builds
/// functions are inlined from one module into another, which saves a tenth of the CPU of a delivery, and each function
/// has a section of its own, so that the linker can lay them out.
let strict: [SwiftSetting] =
    [
        .treatAllWarnings(as: .error),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
    ]
    + (isDependency
        ? []
        : [
            .unsafeFlags(
                ["-cross-module-optimization", "-Xfrontend", "-function-sections"], .when(configuration: .release))
        ])

/// For the node's own targets: no checks of exclusive access at run time in release builds, where they cost a tenth of
/// what a delivery computes; debug builds, and with them all tests, have them.
let unchecked: [SwiftSetting] =
    isDependency ? [] : [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

/// For the program in release builds: the functions that run for each message lie side by side, in the order of the
/// file (`scripts/bench --layout` writes it), instead of on hundreds of pages all over the program. That saves a tenth
/// of the CPU of a delivery. It takes the linker of the Swift toolchain; names that are no more are ignored.
let layout: [LinkerSetting] =
    isDependency
    ? []
    : [
        .unsafeFlags(
            [
                "-use-ld=lld", "-Xlinker",
                "--symbol-ordering-file=\(Context.packageDirectory)/Sources/martlet/hot-functions.txt", "-Xlinker",
                "--no-warn-symbol-ordering",
            ], .when(configuration: .release))
    ]

let nio: [Target.Dependency] = [
    .product(name: "NIOConcurrencyHelpers", package: "swift-nio"),
    .product(name: "NIOCore", package: "swift-nio"),
    .product(name: "NIOPosix", package: "swift-nio"),
    .product(name: "Logging", package: "swift-log"),
]

let package = Package(
    name: "martlet",
    products: [
        .executable(name: "martlet", targets: ["martlet"]),
        .library(name: "MartletClient", targets: ["MartletClient"]),
        .executable(name: "martlet-sim", targets: ["martlet-sim"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.35.2"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
    ],
    targets: [
        .systemLibrary(name: "CHiredis"),
        .systemLibrary(name: "CLibcrypto"),
        .target(name: "CGzip", cSettings: [.treatAllWarnings(as: .error)], linkerSettings: [.linkedLibrary("z")]),
        .systemLibrary(name: "CLinux"),
        .systemLibrary(name: "CPostgres"),
        .systemLibrary(name: "CSQLite"),
        .target(
            name: "RedisSchema",
            path: "redis",
            exclude: ["README.md", "SENTINEL-AND-CLUSTER.md", "redis.conf", "users.acl"],
            resources: [.embedInCode("functions")],
            swiftSettings: strict
        ),
        .target(name: "ChatJSON", swiftSettings: strict + unchecked),
        .target(name: "ChatCore", dependencies: ["ChatJSON"], swiftSettings: strict + unchecked),
        .target(
            name: "ChatHub",
            dependencies: ["ChatCore", .product(name: "HeapModule", package: "swift-collections")],
            swiftSettings: strict + unchecked
        ),
        .target(
            name: "ChatWire", dependencies: ["ChatCore", "ChatJSON"],
            exclude: ["README.md", "EventStream/README.md", "SocketIO/README.md", "Stomp/README.md"],
            swiftSettings: strict + unchecked),
        .target(
            name: "ChatRedis",
            dependencies: [
                "ChatCore", "ChatJSON", "CHiredis", "RedisSchema",
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ] + nio,
            swiftSettings: strict + unchecked
        ),
        .target(
            name: "ChatAccess",
            dependencies: [
                "ChatCore", "ChatJSON", "CLibcrypto",
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "OrderedCollections", package: "swift-collections"),
            ] + nio,
            exclude: ["README.md"],
            swiftSettings: strict + unchecked
        ),
        .target(
            name: "ChatGateway",
            dependencies: [
                "CGzip", "CLinux", "ChatCore", "ChatJSON", "ChatWire",
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypes", package: "swift-nio-extras"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
            ] + nio,
            exclude: ["Web/README.md"],
            resources: [.embedInCode("Web")],
            swiftSettings: strict + unchecked
        ),
        .target(
            name: "ChatNode",
            dependencies: [
                "CLinux", "ChatAccess", "ChatArchive", "ChatCore", "ChatHub", "ChatJSON", "ChatWire", "ChatRedis",
                "ChatGateway",
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "Metrics", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ] + nio,
            exclude: ["COMPARISON.md", "PRODUCTION.md", "Configuration/README.md"],
            swiftSettings: strict + unchecked
        ),
        .target(name: "ChatArchive", dependencies: ["CPostgres", "CSQLite", "ChatCore"], swiftSettings: strict),
        .target(
            name: "ChatRelay",
            dependencies: [
                "ChatArchive", "ChatAccess", "ChatCore", "ChatJSON", "ChatRedis", "RedisSchema",
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ] + nio,
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .target(
            name: "MartletClient",
            dependencies: [
                "ChatCore", "ChatJSON", "ChatWire",
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ] + nio,
            exclude: ["README.md"],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "martlet",
            dependencies: [
                "CLinux", "ChatAccess", "ChatArchive", "ChatCore", "ChatGateway", "ChatJSON", "ChatNode", "ChatRedis",
                "ChatRelay", "ChatWire", "MartletClient", "RedisSchema",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ] + nio,
            exclude: ["README.md", "hot-functions.txt"],
            swiftSettings: strict,
            linkerSettings: layout
        ),
        // The bot of Sources/MartletClient/README.md: a test compares the two and runs it.
        .executableTarget(
            name: "tutorial-bot", dependencies: ["MartletClient"], path: "Tests/TutorialBot", swiftSettings: strict),
        // The worker of Sources/ChatRelay/README.md, which a test runs.
        .executableTarget(
            name: "tutorial-worker", dependencies: ["CHiredis", "CSQLite"], path: "Tests/TutorialWorker",
            swiftSettings: strict),
        // The gateway's transports under small applications, for conformance suites of others.
        .executableTarget(
            name: "protocol-echo",
            dependencies: [
                "ChatCore", "ChatGateway", "ChatJSON", "ChatWire",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ] + nio,
            path: "Tests/ProtocolEcho",
            swiftSettings: strict
        ),
        // What several test targets need: servers of a test's own, sockets, waiting with a deadline, numbers from a
        // seed.
        .target(
            name: "TestSupport", dependencies: ["ChatCore"] + nio, path: "Tests/TestSupport",
            exclude: ["thread-sanitizer.txt"], swiftSettings: strict),
        .testTarget(name: "ChatCoreTests", dependencies: ["ChatCore", "TestSupport"], swiftSettings: strict),
        .target(
            name: "Simulation", dependencies: ["ChatCore", "ChatHub"], path: "Tests/Simulation", swiftSettings: strict),
        .executableTarget(
            name: "martlet-sim",
            dependencies: ["Simulation", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            path: "Tests/martlet-sim",
            swiftSettings: strict
        ),
        .testTarget(name: "SimulationTests", dependencies: ["Simulation", "ChatCore"], swiftSettings: strict),
        .testTarget(name: "ChatHubTests", dependencies: ["ChatCore", "ChatHub"], swiftSettings: strict),
        .testTarget(
            name: "ChatArchiveTests", dependencies: ["ChatArchive", "ChatCore", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "ChatRelayTests",
            dependencies: [
                "ChatCore", "ChatRedis", "ChatRelay", "RedisSchema", "TestSupport",
                .product(name: "Logging", package: "swift-log"), .product(name: "NIOCore", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .testTarget(name: "ChatWireTests", dependencies: ["ChatCore", "ChatJSON", "ChatWire"], swiftSettings: strict),
        .testTarget(
            name: "ChatAccessTests",
            dependencies: [
                "ChatAccess", "ChatCore", "ChatJSON", "TestSupport",
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
            ] + nio,
            exclude: ["Fixtures/make.py"],
            resources: [.embedInCode("Fixtures/tokens.json")],
            swiftSettings: strict
        ),
        .testTarget(
            name: "ChatRedisTests", dependencies: ["ChatCore", "ChatJSON", "ChatRedis", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "ChatGatewayTests",
            dependencies: [
                "ChatAccess", "ChatGateway", "ChatNode", "TestSupport",
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "NIOTLS", package: "swift-nio"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "ChatNodeTests", dependencies: ["ChatAccess", "ChatArchive", "ChatNode"] + nio, swiftSettings: strict),
        .testTarget(
            name: "MartletClientTests",
            dependencies: [
                "MartletClient", "martlet", "ChatCore", "ChatJSON", "ChatWire",
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOWebSocket", package: "swift-nio"),
            ] + nio,
            swiftSettings: strict
        ),
        .testTarget(
            name: "MartletCommandTests",
            dependencies: [
                "martlet", "MartletClient", "ChatCore", "ChatJSON", "ChatWire", "ChatRedis", "ChatRelay", "RedisSchema",
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "EndToEndTests",
            dependencies: ["martlet", "ChatArchive", "ChatCore", "MartletClient", "TestSupport"],
            swiftSettings: strict),
    ]
)
