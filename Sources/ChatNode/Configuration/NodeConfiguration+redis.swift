public import ChatRedis
public import RedisSchema

extension NodeConfiguration {
    /// The URL of Redis, with the user and the password from their own variables. Throws for `memory:`, which is not a
    /// Redis.
    public func redisURL() throws(RedisURLError) -> RedisURL {
        var url = try RedisURL(redis.address.text)
        if let user = redis.user { url.user = user }
        if let password = redis.password { url.password = password.revealed }
        url.tls?.take(filesOf: redis.tlsFiles)
        return url
    }

    /// The URL of the Cluster, with the user and the password. Throws if the address does not name a Cluster.
    func clusterURL() throws(RedisURLError) -> ClusterURL {
        var url = try ClusterURL(redis.address.text)
        url.authenticate(user: redis.user, password: redis.password?.revealed)
        url.secure(with: redis.tlsFiles)
        return url
    }

    /// The names of the keys in Redis.
    public func redisKeys() throws -> RedisKeys {
        guard var keys = RedisKeys(prefix: redis.keyPrefix) else {
            throw StartError("MARTLET_KEY_PREFIX cannot be a prefix of Redis keys")
        }
        keys.isClustered = redis.address.isCluster
        return keys
    }

    /// For tools that read Redis without being a node: reads only the variables that describe the connection
    /// (`MARTLET_REDIS_…` and `MARTLET_KEY_PREFIX`), so that a mistake in another variable does not stop them.
    public static func loadForTools(environment: [String: String]) throws(ConfigurationError) -> NodeConfiguration {
        try load(
            environment: environment.filter { $0.key.hasPrefix("MARTLET_REDIS_") || $0.key == "MARTLET_KEY_PREFIX" })
    }
}

extension NodeConfiguration.Redis {
    /// The certificate files, which have variables of their own.
    var tlsFiles: RedisURL.TLS {
        RedisURL.TLS(authorityFile: authorityFile, certificateFile: certificateFile, keyFile: keyFile)
    }
}
