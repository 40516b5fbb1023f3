# The trace of an order as a tree, from the collector's log:
# jq --null-input --raw-input --raw-output --arg correlation ID --from-file examples/shop/trace.jq

def attribute($key): [.attributes[]? | select(.key == $key).value.stringValue][0];
def padded: (. + " " * 11)[:11];

[ inputs | fromjson? | .resourceSpans[]?
  | (.resource | attribute("service.name")) as $service
  | .scopeSpans[].spans[] + {$service}
] | sort_by(.startTimeUnixNano) as $all
# In which traces anybody tells of it.
| map(select(attribute("correlation_id") == $correlation).traceId) | unique[]
| . as $trace | [$all[] | select(.traceId == $trace)] as $spans
| def below($parent; $depth): $spans[] | select((.parentSpanId // "") == $parent)
    | (.service | padded) + "  " * $depth + .name, below(.spanId; $depth + 1);
"trace \($trace)", below(""; 0)
