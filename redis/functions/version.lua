-- martlet_version: the version of this library.
--
-- KEYS  none
-- ARGV  none
-- Returns a number; nodes reload the library if theirs is higher
-- Atomic nothing to be: it reads and writes no key.

redis.register_function{function_name = 'martlet_version', flags = {'no-writes'}, callback = function()
    return VERSION
end}
