// Twenty schemas as clients send them, of many kinds; all satisfiable in a few dozen tokens.
#pragma once

#include <string>
#include <vector>

namespace switchyard {

inline std::vector<std::string> TestSchemas() {
  return {
      R"({"type":"object","properties":{"name":{"type":"string","maxLength":20},"age":{"type":"integer","minimum":0,"maximum":150}},"required":["name","age"],"additionalProperties":false})",
      R"({"type":"object","properties":{"answer":{"enum":["yes","no","perhaps"]},"sure":{"type":"boolean"}},"required":["answer"]})",
      R"({"type":"array","items":{"type":"integer","minimum":-9,"maximum":99},"minItems":1,"maxItems":5})",
      R"({"anyOf":[{"type":"integer","minimum":0,"maximum":9},{"type":"string","maxLength":6},{"type":"null"}]})",
      R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"boolean"},"kids":{"type":"array","items":{"$ref":"#/$defs/node"},"maxItems":2}},"required":["v"]}},"$ref":"#/$defs/node"})",
      R"({"type":"string","pattern":"^[A-Z]{2}-[0-9]{3}$"})",
      R"({"type":"object","properties":{"when":{"type":"string","format":"date-time"},"id":{"type":"string","format":"uuid"}},"required":["when","id"]})",
      R"({"type":"object","properties":{"x":{"type":"number","minimum":-1.5,"maximum":1.5},"y":{"type":"number","exclusiveMinimum":0,"exclusiveMaximum":0.5}},"required":["x","y"]})",
      R"({"type":"array","prefixItems":[{"const":"move"},{"enum":["n","e","s","w"]},{"type":"integer","minimum":1,"maximum":12}],"items":false,"minItems":3})",
      R"({"type":"object","additionalProperties":{"type":"integer","minimum":0,"maximum":9},"required":["total"]})",
      R"({"type":"object","patternProperties":{"^k[0-9]$":{"type":"boolean"}},"additionalProperties":false})",
      R"({"oneOf":[{"type":"object","properties":{"kind":{"const":"circle"},"r":{"type":"integer"}},"required":["kind","r"]},{"type":"object","properties":{"kind":{"const":"box"},"w":{"type":"integer"},"h":{"type":"integer"}},"required":["kind","w","h"]}]})",
      R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer","maximum":5}},"required":["a"]},{"properties":{"a":{"minimum":3},"b":{"type":"string","maxLength":3}},"required":["b"]}]})",
      R"({"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"},"c":{"type":"null"},"d":{"type":"null"}}})",
      R"({"type":["integer","null"],"minimum":100,"maximum":110})",
      R"({"type":"object","properties":{"user":{"type":"object","properties":{"email":{"type":"string","format":"email"}},"required":["email"]},"tags":{"type":"array","items":{"type":"string","minLength":1,"maxLength":8},"maxItems":3}},"required":["user"]})",
      R"({"type":"integer","multipleOf":25,"minimum":25,"maximum":975})",
      R"({"enum":[{"op":"add","args":[1,2]},{"op":"none"},[],"text",3.5,true,null]})",
      R"({"type":"string","minLength":3,"maxLength":12})",
      R"({"type":"array","items":{"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":2},"minItems":2,"maxItems":3})",
  };
}

}  // namespace switchyard
