-- martlet_command: something that every node applies within a second, and whoever starts later too:
-- FCALL martlet_command 1 martlet:commands revoke user ana
-- FCALL martlet_command 1 martlet:commands ban mallory 3600000 'spam' ana
--
-- KEYS  commands (the stream <prefix>commands)
-- ARGV  revoke · token, user or everybody · the token's ID (jti) or the user's name, '' for everybody · optional, '' for
--       the default: tokens that were issued before this time, in ms (now) · ms at which the revocation is forgotten
--       (in 30 days; nodes refuse longer-lived tokens) · who orders it
--       ban, mute (in all rooms) · the user · for that many ms, '' for ever · reason, at most 200 bytes · who orders it
--       unban, unmute · the user · '' · '' · who orders it
-- Returns the entry's ID
-- Atomic the one XADD. The stream keeps the newest 100,000 commands (about).

local function add_command(commands, type, subject, name, by, ...)
    return redis.call('XADD', commands, 'MAXLEN', '~', '100000', '*', 'type', type, 'subject', subject, 'name', name,
        'by', by, ...)
end

-- Ends with an error if the text is longer or holds control characters.
local function check_text(what, text, least, most)
    if #text < least or #text > most or text:find('%c') then
        error({err = 'ERR martlet: ' .. what .. ' must be ' .. least .. ' to ' .. most
            .. ' bytes without control characters'})
    end
end

local function revoke(commands, subject, name, before, till, by)
    name, by = name or '', by or ''
    if subject ~= 'token' and subject ~= 'user' and subject ~= 'everybody' then
        return {err = 'ERR martlet: revoke needs token, user or everybody'}
    end
    if subject ~= 'everybody' then check_text('the ID or name', name, 1, 128) end
    check_text('who orders it', by, 0, 128)
    before = before and before ~= '' and number(before, 'before') or now()
    till = till and till ~= '' and number(till, 'until') or now() + 2592000000
    return add_command(commands, 'revoke', subject, name, by, 'before', int(before), 'until', int(till))
end

local function sanction(commands, type, user, time, reason, by)
    user, time, reason, by = user or '', time or '', reason or '', by or ''
    check_text('the user', user, 1, 128)
    check_text('the reason', reason, 0, 200)
    check_text('who orders it', by, 0, 128)
    if type == 'unban' or type == 'unmute' then return add_command(commands, type, 'user', user, by) end
    time = time ~= '' and number(time, 'time')
    if time == 0 then return {err = 'ERR martlet: the time is 0: nobody is sanctioned for no time'} end
    return add_command(commands, type, 'user', user, by, 'time', time and int(time) or '', 'reason', reason)
end

redis.register_function('martlet_command', function(keys, args)
    check({'stream'}, keys)
    local type = args[1]
    if type == 'revoke' then return revoke(keys[1], unpack(args, 2, 6)) end
    if type == 'ban' or type == 'mute' or type == 'unban' or type == 'unmute' then
        return sanction(keys[1], type, unpack(args, 2, 5))
    end
    return {err = 'ERR martlet: the command must be revoke, ban, mute, unban or unmute'}
end)
