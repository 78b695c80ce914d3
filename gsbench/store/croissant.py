"""`croissant.json`: a data set's metadata for search engines and loaders, with the shapes of its arrays."""

import json
from typing import Any

from gsbench.store.card import About, citation
from gsbench.store.manifest import Manifest
from gsbench.store.schema import Schema

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = {"string": "sc:Text", "image": "sc:ImageObject", "int32": "cr:Int32", "label": "cr:Int64"}


def croissant(manifest: Manifest, about: About, repo: str) -> str:
    """The metadata in Croissant 1.1; the Hub's own converter leaves out columns that are arrays of two dimensions.

    Args:
        manifest: of the data folder.
        about: its words.
        repo: ORG/NAME on the Hub.

    Source: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
    """
    base = f"https://huggingface.co/datasets/{repo}"
    record = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": manifest.name,
        "description": f"{about.title}. {about.source.strip()}",
        "version": manifest.version,
        "license": about.license,
        "url": base,
        "citeAs": citation(manifest),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "repo",
                "name": "repo",
                "contentUrl": base,
                "encodingFormat": "git+https",
                "sha256": "https://github.com/mlcommons/croissant/issues/80",
            },
            *(
                {
                    "@type": "cr:FileSet",
                    "@id": f"files-{config}",
                    "name": f"files-{config}",
                    "containedIn": {"@id": "repo"},
                    "encodingFormat": "application/x-parquet",
                    "includes": f"{config}/*.parquet",
                }
                for config in manifest.counts
            ),
        ],
        "recordSet": [_record_set(manifest.schema(config)) for config in manifest.counts],
    }
    return json.dumps(record, indent=1) + "\n"


def _record_set(schema: Schema) -> dict[str, Any]:
    config, fields = schema.config, []
    for column in schema.columns:
        dtype = schema.dtype_of(column)
        extract: dict[str, Any] = {"fileSet": {"@id": f"files-{config}"}, "extract": {"column": column.name}}
        if dtype == "image":
            extract["transform"] = {"jsonPath": "bytes"}
        field: dict[str, Any] = {
            "@type": "cr:Field",
            "@id": f"{config}/{column.name}",
            "name": column.name,
            "description": column.about,
            "dataType": _TYPES.get(dtype, f"cr:{dtype.capitalize()}"),
            "source": extract,
        }
        shape = schema.shape_of(column)
        if column.shape:
            field |= {"isArray": True, "arrayShape": ",".join("-1" if side is None else str(side) for side in shape)}
        fields.append(field)
    return {"@type": "cr:RecordSet", "@id": config, "name": config, "field": fields}
