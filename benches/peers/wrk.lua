-- What wrk cannot say on its command line, and its figures as JSON: those that
-- it prints by itself are rounded and come in changing units.

function init(args)
   wrk.method = args[1]
   if args[2] ~= "0" then wrk.body = string.rep("x", tonumber(args[2])) end
   local pause = tonumber(args[3])
   -- Only where wanted: wrk sets a timer for each request once this exists.
   if pause > 0 then delay = function() return pause end end
end

function done(summary, latency)
   local e = summary.errors
   print(string.format(
      '{"requests":%d,"bytes":%d,"seconds":%f,"p50":%d,"p99":%d,"errors":' ..
         '{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}',
      summary.requests, summary.bytes, summary.duration / 1e6,
      latency:percentile(50), latency:percentile(99),
      e.connect, e.read, e.write, e.timeout, e.status))
end
