"""Operations that ONNX defines by others, and choices that are made when importing: replaced by what they consist
of."""

from __future__ import annotations

from collections.abc import Container

#: Where the functions of a model are while they are put in the place of their calls.
_DOMAIN = "diffgraph.expanded"

#: What a model computes from constants when it is imported; their definitions are loops.
_COMPUTED = frozenset({"Range"})


def expand(onnx, model, known: Container[str]) -> bool:
    """Replaces, in a model whose shapes have been inferred, each operation that is not known but has a definition, and
    each `If` whose condition is; whether there was one."""
    chosen = _choose(onnx, model)
    expanded = _expand_functions(onnx, model, known)
    return chosen or expanded


def _choose(onnx, model) -> bool:
    """The branch of each `If` in its place, where its condition is a constant."""
    conditions = {t.name: bool(onnx.numpy_helper.to_array(t).reshape(-1)[0]) for t in model.graph.initializer
                  if t.data_type == onnx.TensorProto.BOOL and t.dims in ([], [1])}  # fmt: skip
    found, nodes = False, []
    for node in model.graph.node:
        if node.op_type != "If" or node.input[0] not in conditions:
            nodes.append(node)
            continue
        found = True
        wanted = "then_branch" if conditions[node.input[0]] else "else_branch"
        branch = next(a.g for a in node.attribute if a.name == wanted)
        model.graph.initializer.extend(branch.initializer)
        nodes += branch.node
        for inner, outer in zip(branch.output, node.output):
            nodes.append(onnx.helper.make_node("Identity", [inner.name], [outer]))
    if found:
        _replace(model, nodes)
    return found


def _expand_functions(onnx, model, known: Container[str]) -> bool:
    types = {i.name: i.type for i in (*model.graph.input, *model.graph.value_info, *model.graph.output)}
    for tensor in model.graph.initializer:
        types[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    found = False
    for count, node in enumerate(model.graph.node):
        if node.domain not in ("", "ai.onnx") or node.op_type in known or node.op_type in _COMPUTED:
            continue
        body = _definition(onnx, node, version, types)
        if body is not None:
            found = True
            body.name = f"{node.op_type}_{count}"
            body.domain = _DOMAIN
            model.functions.append(body)
            node.op_type, node.domain = body.name, _DOMAIN
    if found:
        if not any(o.domain == _DOMAIN for o in model.opset_import):
            model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
        import onnx.inliner

        inlined = onnx.inliner.inline_local_functions(model, convert_version=False)
        model.CopyFrom(inlined)
        del model.functions[:]
        del model.graph.value_info[:]
    return found


def _definition(onnx, node, version: int, types):
    """What an operation consists of, None where ONNX does not say."""
    try:
        schema = onnx.defs.get_schema(node.op_type, version)
    except onnx.defs.SchemaError:
        return None
    if schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= version]
        data = schema.get_function_with_opset_version(versions[-1]) if versions else None
    elif schema.has_context_dependent_function:
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= version]
        if not versions or any(name and name not in types for name in node.input):
            return None
        given = [(types[name] if name else onnx.TypeProto()).SerializeToString() for name in node.input]
        data = schema.get_context_dependent_function_with_opset_version(versions[-1], node.SerializeToString(), given)
    else:
        return None
    if not data:
        return None
    body = onnx.FunctionProto()
    body.ParseFromString(data)
    return body


def _replace(model, nodes) -> None:
    kept = []
    for node in nodes:
        copy = type(node)()
        copy.CopyFrom(node)
        kept.append(copy)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.value_info[:]
