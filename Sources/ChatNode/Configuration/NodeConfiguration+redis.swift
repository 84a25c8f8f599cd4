public import ChatRedis
public import RedisSchema

extension NodeConfiguration {
    /// Where Redis is and who we are there: the URL, with the user and the password that stand in variables of their own. Throws for
    /// `memory:`, which is no Redis.
    public func redisURL() throws(RedisURLError) -> RedisURL {
        var url = try RedisURL(redis.address.text)
        if let user = redis.user { url.user = user }
        if let password = redis.password { url.password = password.revealed }
        url.tls?.take(filesOf: redis.tlsFiles)
        return url
    }

    /// Where nodes of the Cluster are and who we are there. Throws if it is no Cluster that is named.
    func clusterURL() throws(RedisURLError) -> ClusterURL {
        var url = try ClusterURL(redis.address.text)
        url.authenticate(user: redis.user, password: redis.password?.revealed)
        url.secure(with: redis.tlsFiles)
        return url
    }

    /// The names of what is kept in Redis.
    public func redisKeys() throws -> RedisKeys {
        guard var keys = RedisKeys(prefix: redis.keyPrefix) else {
            throw StartError("MARTLET_KEY_PREFIX cannot be a prefix of Redis keys")
        }
        keys.isClustered = redis.address.isCluster
        return keys
    }

    /// For tools that look at Redis and are no node: reads only the variables that say where it is (`MARTLET_REDIS_…` and
    /// `MARTLET_KEY_PREFIX`), so that another one's mistake does not keep them from looking.
    public static func loadForTools(environment: [String: String]) throws(ConfigurationError) -> NodeConfiguration {
        try load(
            environment: environment.filter { $0.key.hasPrefix("MARTLET_REDIS_") || $0.key == "MARTLET_KEY_PREFIX" })
    }
}

extension NodeConfiguration.Redis {
    /// The files that stand in variables of their own.
    var tlsFiles: RedisURL.TLS {
        RedisURL.TLS(authorityFile: authorityFile, certificateFile: certificateFile, keyFile: keyFile)
    }
}
